"""Estimate beside invoice, where the right split of the difference is known."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from noria.costs import focus
from noria.costs.reconcile import PARTS, Parts, Reconciliation, reconcile
from tests.support.charges import DAY, NODE, SHEET, bill, estimate, kept, nodes, table

Rows = list[dict[str, Any]]


def reconciled(estimates: Rows, invoices: Rows) -> Reconciliation:
    (found,) = reconcile(table(*invoices), table(*estimates), days_of(invoices), SHEET)
    return found


def days_of(rows: Rows) -> set[date]:
    return {date.fromisoformat(row[focus.DAY]) for row in rows}


def parts(**amounts: str) -> Parts:
    return Parts(**{name: Decimal(amount) for name, amount in amounts.items()})


@pytest.mark.parametrize(
    ("estimates", "invoices", "expected"),
    [
        pytest.param([estimate(NODE, "8", "0.80")], [nodes("2", "0.80")], parts(), id="as estimated"),
        pytest.param([estimate(NODE, "8", "0.80")], [nodes("5", "2.00")], parts(idle="1.20"), id="three hours idle"),
        pytest.param([estimate(NODE, "8", "0.80")], [nodes("2", "1.00")], parts(price="0.20"), id="another price"),
        pytest.param(
            [estimate(NODE, "8", "0.80")], [nodes("5", "2.50")], parts(price="0.20", idle="1.50"), id="price and idle"
        ),
        pytest.param(
            [estimate(NODE, "8", "0.80")], [nodes("1", "0.50")], parts(price="0.10", rest="-0.40"), id="less time"
        ),
        pytest.param(
            [estimate("synapse", "12", "1.20")],
            [bill("Azure Synapse Analytics", "2", "10 Hours", "2.40", "students")],
            parts(price="0.24", idle="0.96"),
            id="tens of hours",
        ),
        pytest.param(
            [estimate(NODE, "8", "0.80")],
            [nodes("2", "0.80"), bill("Key Vault", "3", "10K", "0.09")],
            parts(unlabelled="0.09"),
            id="a charge without tags",
        ),
        pytest.param(
            [kept("1", "0.02")],
            [bill("Storage", "3", "1 GB/Month", "0.06"), bill("Storage", "1", "10K", "0.05")],
            parts(storage="0.09"),
            id="storage",
        ),
        pytest.param(
            [estimate(NODE, "8", "0.80"), estimate("local", "4", "0.20")],
            [nodes("2", "0.80")],
            parts(not_invoiced="-0.20"),
            id="workers of our own",
        ),
        pytest.param(
            [estimate(NODE, "8", "0.80")], [nodes("2", "1.00", ConsumedUnit="1 Foo")], parts(rest="0.20"), id="no unit"
        ),
        pytest.param(
            [], [nodes("1", "0.40"), bill("Bandwidth", "1", "1 GB", "0.08", "students")],
            parts(idle="0.40", rest="0.08"), id="labelled, and nothing metered",
        ),
        pytest.param(
            [estimate(NODE, "8", "0.80")],
            [nodes("2", "0.80"), bill("Virtual Machines", "0", "1 Hour", "-0.30", ChargeCategory="Credit")],
            parts(unlabelled="-0.30"),
            id="a credit",
        ),
        pytest.param(
            [estimate(NODE, "8", "0.80")],
            [nodes("2", "0.80"), nodes("24", "0.50", None, ChargeDescription="Virtual Machines BS Series - B2s")],
            parts(unlabelled="0.50"),
            id="a machine that is none of ours",
        ),
        pytest.param(
            [estimate("synapse", "12", "1.20")],
            [bill("Azure Synapse Analytics", "12", "1 Hour", "1.20", "students"),
             bill("Azure Synapse Analytics", "2", "1 TB", "10.00", "students")],
            parts(rest="10.00"),
            id="another meter of a service",
        ),
        pytest.param(
            [estimate(NODE, "8", "0.80")],
            [nodes("5", "2.00", ServiceName="Azure Machine Learning", ChargeDescription=None)],
            parts(idle="1.20"),
            id="no size of node told",
        ),
    ],
)  # fmt: skip
def test_the_difference_is_taken_apart(estimates: Rows, invoices: Rows, expected: Parts) -> None:
    total = reconciled(estimates, invoices).total
    assert total.parts == expected
    assert total.parts.total == total.difference


CORRECTION = {"ChargeClass": "Correction"}
UNUSED = {"CommitmentDiscountStatus": "Unused"}


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        (nodes("0", "-0.10", **CORRECTION), {"rest": "-0.10"}),
        (nodes("-1", "-0.10", **CORRECTION), {"rest": "-0.10"}),
        (nodes("0", "3.00", **UNUSED), {"idle": "3.00"}),
        (nodes("0", "3.00", **UNUSED, ConsumedQuantity=None, PricingQuantity=Decimal(13), PricingUnit="1 Hour"),
         {"idle": "3.00"}),
        (nodes("0", "3.00", None, **UNUSED), {"idle": "3.00"}),
        (nodes("0", "0.01"), {"rest": "0.01"}),
        (nodes("0", "0.01", ConsumedQuantity=None), {"rest": "0.01"}),
        (nodes("0", "0.01", ConsumedQuantity=None, ConsumedUnit=None), {"rest": "0.01"}),
        (bill("Storage", "-1", "1 GB/Month", "-0.50", **CORRECTION), {"storage": "-0.50"}),
    ],
    ids=["refund", "refund of hours", "unused", "unused, priced hours", "unused, unlabelled", "no hours", "null hours",
         "no unit", "storage"],
)  # fmt: skip
def test_what_is_no_price_of_hours_used_proposes_no_price(beside: dict[str, Any], expected: dict[str, str]) -> None:
    estimates = [estimate(NODE, "8", "0.80"), kept("2", "0.04")]
    found = reconciled(estimates, [nodes("2", "0.80"), bill("Storage", "2", "1 GB/Month", "0.04"), beside])
    assert found.total.parts == parts(**expected) and found.total.parts.total == found.total.difference
    assert [price for price in found.prices if price.percent] == []


def test_a_cluster_without_tags_is_shared_by_those_who_used_it() -> None:
    found = reconciled(
        [estimate(NODE, "8", "0.80"), estimate(NODE, "4", "0.40", "taxis")],
        [nodes("5", "2.50", None)],
    )
    assert found.total.parts == parts(price="0.30", idle="1.00")
    lines = {line.name: line for line in found.by_pipeline}
    assert lines["students"].parts == parts(unlabelled="-0.80")
    assert lines["taxis"].parts == parts(unlabelled="-0.40")
    assert lines[None].parts == parts(unlabelled="1.20", price="0.30", idle="1.00")


def test_the_price_sheets_error_is_measured_and_the_right_price_proposed() -> None:
    found = reconciled(
        [estimate(NODE, "8", "0.80"), kept("2", "0.04")],
        [nodes("5", "2.50"), bill("Storage", "0.01", "100 GB/Month", "0.025")],
    )
    node, storage = found.prices
    assert (node.machine, node.key, node.quantity) == (NODE, "per_node_hour", 2.0)
    assert (node.sheet, node.invoiced, round(node.percent, 9)) == (Decimal("0.4"), Decimal("0.5"), -20.0)
    assert (storage.machine, storage.key, storage.invoiced) == ("storage", "per_gb_month", Decimal("0.025"))


def test_a_unit_that_is_not_understood_is_told() -> None:
    notes = reconciled([estimate(NODE, "8", "0.80")], [nodes("2", "1.00", ConsumedUnit="1 Foo")]).notes
    assert any("'1 Foo'" in note for note in notes)


def test_the_pricing_unit_is_asked_where_the_consumed_one_is_missing() -> None:
    row = nodes("0", "2.00", ConsumedUnit=None, ConsumedQuantity=None, PricingUnit="1 Hour", PricingQuantity=Decimal(5))
    assert reconciled([estimate(NODE, "8", "0.80")], [row]).total.parts == parts(idle="1.20")


def test_another_currency_is_never_compared() -> None:
    found = reconciled([estimate(NODE, "8", "0.80")], [nodes("2", "1.00", BillingCurrency="EUR")])
    assert (found.currency, found.total.estimate, found.total.invoice) == ("EUR", 0, 1)
    assert "The invoice is in EUR, the price sheet in USD" in found.notes[0]


def test_days_without_an_invoice_are_left_out() -> None:
    later = estimate(NODE, "80", "8.00", day=DAY + timedelta(days=1))
    found = reconciled([estimate(NODE, "8", "0.80"), later], [nodes("2", "0.80")])
    assert (found.days, found.first, found.total.difference) == (1, "2026-11-20", 0)
    assert reconcile(table(later), table(later), [], SHEET) == []


def test_a_day_whose_invoice_is_empty_is_held_against_its_estimates() -> None:
    """All of them are not invoiced, whatever the other days are."""
    empty, billed = DAY, DAY - timedelta(days=1)
    estimates = [estimate(NODE, "8", "0.80"), estimate("local", "4", "0.20"), kept("1", "0.02")]
    alone, both = [], [nodes("5", "2.50", day=billed), estimate(NODE, "8", "0.80", day=billed)]
    for others, days in ((alone, [empty]), (both, [empty, billed])):
        bills, metered = others[:1], [*estimates, *others[1:]]
        (found,) = reconcile(table(*bills), table(*metered), days, SHEET)
        assert (found.currency, found.days, found.last) == ("USD", len(days), str(empty))
        line = next(line for line in found.by_day if line.name == str(empty))
        assert (line.estimate, line.invoice) == (Decimal("1.02"), 0)
        assert line.parts == parts(not_invoiced="-1.00", storage="-0.02")
        assert all(line.parts.total == line.difference for line in (found.total, *found.by_day, *found.by_pipeline))


def test_a_day_that_is_billed_in_another_currency_alone_is_left_out_and_told() -> None:
    """As after a scope was switched: its estimates are not "metered, and not on the invoice"."""
    other = DAY - timedelta(days=1)
    bills = [nodes("2", "0.90"), nodes("2", "0.90", day=other, BillingCurrency="EUR")]
    estimates = [estimate(NODE, "8", "0.80"), estimate(NODE, "8", "0.80", day=other)]
    eur, usd = reconcile(table(*bills), table(*estimates), [DAY, other], SHEET)
    assert (usd.days, usd.first, usd.total.parts) == (1, str(DAY), parts(price="0.10"))
    assert usd.notes == (f"Left out, since they are charged in another currency alone: {other}.",)
    assert (eur.days, eur.first) == (1, str(other))


def test_a_refund_proposes_no_price() -> None:
    found = reconciled([estimate(NODE, "8", "0.80")], [nodes("2", "-0.80")])
    assert found.prices == ()
    assert found.total.parts.total == found.total.difference


def test_both_sides_are_told_by_tag() -> None:
    trained = estimate(NODE, "8", "0.80", x_Stage="train", x_Run="r1")
    found = reconciled([trained], [nodes("2", "1.00", x_Stage="train")])
    sides = {(line.tag, line.value): (line.estimate, line.invoice) for line in found.by_tag}
    assert sides["noria:stage", "train"] == (Decimal("0.8"), 1)
    assert sides["noria:run", None] == (0, 1)
    assert sides["noria:run", "r1"] == (Decimal("0.8"), 0)


def test_parts_add_up_whatever_there_is() -> None:
    """To the last of 18 places, for the whole, each day and each pipeline."""
    luck = random.Random(5)
    pipelines, units = ("students", "taxis", None), ("1 Hour", "10 Hours", "1 Foo", "10K")

    def amount() -> str:
        return f"{luck.uniform(0, 9):.15f}"

    estimates, invoices = [], []
    for _ in range(120):
        day = {"day": DAY - timedelta(days=luck.randrange(5))}
        name = luck.choice(pipelines)
        empty = luck.choice(("local", "synapse", NODE))
        estimates.append(estimate(empty, amount(), amount(), name, day=DAY - timedelta(days=9)))
        estimates.append(estimate(luck.choice(("local", "synapse", NODE)), amount(), amount(), name, **day))
        invoices.append(nodes(amount(), amount(), luck.choice(pipelines), ConsumedUnit=luck.choice(units), **day))
        service = luck.choice(("Azure Synapse Analytics", "Storage", "Key Vault"))
        invoices.append(bill(service, amount(), luck.choice(units), amount(), luck.choice(pipelines), **day))
    days = {*days_of(estimates), *days_of(invoices)}
    (found,) = reconcile(table(*invoices), table(*estimates), days, SHEET)
    for line in (found.total, *found.by_day, *found.by_pipeline):
        assert line.parts.total == line.difference, line.name
    assert found.total.invoice == sum(Decimal(row["EffectiveCost"]) for row in invoices)
    assert all(getattr(found.total.parts, part) for part in PARTS), "the case has something of each part"
