"""Every type that an invoice's columns come in, and columns that nobody knows."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noria.costs import focus
from noria.costs.invoice_rows import Invoice, Part
from noria.errors import InputError
from tests.support.focus import MONEY, TYPES, charge

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)
START = datetime(2026, 3, 1, tzinfo=UTC)
TEXT, DOUBLE = pa.string(), pa.float64()


def invoice(
    folder: Path,
    *parts: Sequence[Mapping[str, Any]],
    types: Mapping[str, pa.DataType] | None = None,
    stands: pa.Schema | None = None,
) -> Invoice:
    files = []
    for number, rows in enumerate(parts):
        arrays = {k: pa.array([row[k] for row in rows], {**TYPES, **(types or {})}.get(k)) for k in rows[0]}
        files.append(Part(f"part {number}", folder / f"{number}.parquet", len(rows)))
        pq.write_table(pa.table(arrays), files[-1].file)
    return Invoice.open(files, DAY, NEXT, stands)


def rows_of(found: Invoice) -> list[dict[str, Any]]:
    return pa.Table.from_batches(list(found.batches("invoice"))).to_pylist()


AMOUNTS: dict[str, tuple[Any, pa.DataType, str]] = {
    "decimal": (Decimal("0.1"), MONEY, "0.1"),
    "a decimal of two digits": (Decimal("12.34"), pa.decimal128(10, 2), "12.34"),
    "a decimal of more digits": (Decimal("0.12345678901234567890"), pa.decimal128(38, 20), "0.123456789012345678"),
    "double": (0.1, DOUBLE, "0.1"),
    "a double of all its digits": (1234.000000000007, DOUBLE, "1234.000000000007"),
    "a double that is very small": (1e-21, DOUBLE, "0"),
    "a small double": (1.5e-7, DOUBLE, "0.00000015"),
    "float": (0.5, pa.float32(), "0.5"),
    "integer": (3, pa.int64(), "3"),
    "text": ("-1.25", TEXT, "-1.25"),
    "text with an exponent": ("1.5E-7", TEXT, "0.00000015"),
    "text of more digits": ("0.1234567890123456785", TEXT, "0.123456789012345678"),
}


@pytest.mark.parametrize("kind", AMOUNTS)
def test_amounts(kind: str, tmp_path: Path) -> None:
    value, delivered, expected = AMOUNTS[kind]
    (row,) = rows_of(invoice(tmp_path, [charge(DAY, BilledCost=value)], types={"BilledCost": delivered}))
    assert row["BilledCost"] == Decimal(expected)


def test_one_amount_of_many_digits_takes_none_from_the_others(tmp_path: Path) -> None:
    amounts = [1e-20, -1e-300, 0.0012345678901234567, 0.1, -98765.43, None]
    charges = [charge(DAY, ListCost=amount) for amount in amounts]
    found = [row["ListCost"] for row in rows_of(invoice(tmp_path, charges, types={"ListCost": DOUBLE}))]
    assert found[:2] == [0, 0] and found[3:] == [Decimal("0.1"), Decimal("-98765.43"), None]
    assert found[2] == Decimal("0.001234567890123457")


def test_no_amount_and_a_text_without_one(tmp_path: Path) -> None:
    charges = [charge(DAY, ListCost=text) for text in (None, "")]
    assert [row["ListCost"] for row in rows_of(invoice(tmp_path, charges, types={"ListCost": TEXT}))] == [None, None]


TIMES: dict[str, tuple[Any, pa.DataType]] = {
    "timestamp": (START, pa.timestamp("us", "UTC")),
    "nanoseconds": (START, pa.timestamp("ns", "UTC")),
    "milliseconds without a zone": (START.replace(tzinfo=None), pa.timestamp("ms")),
    "date": (DAY, pa.date32()),
    "1.0": ("2026-03-01T00:00Z", TEXT),
    "1.0r2": ("2026-03-01T00:00:00Z", TEXT),
    "another zone": ("2026-03-01T02:00:00+02:00", TEXT),
    "without a zone": ("2026-03-01 00:00:00", TEXT),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times(kind: str, tmp_path: Path) -> None:
    value, delivered = TIMES[kind]
    (row,) = rows_of(invoice(tmp_path, [charge(DAY, ChargePeriodStart=value)], types={"ChargePeriodStart": delivered}))
    assert (row["ChargePeriodStart"], row[focus.DAY]) == (START, "2026-03-01")


def test_hours_of_a_day_are_of_that_day(tmp_path: Path) -> None:
    charges = [charge(DAY, ChargePeriodStart=START.replace(hour=hour)) for hour in (0, 23, 5)]
    assert [row[focus.DAY] for row in rows_of(invoice(tmp_path, charges))] == ["2026-03-01"] * 3


def test_charges_of_days_before_and_after_are_booked_on_the_nearest_and_keep_their_time(tmp_path: Path) -> None:
    before = datetime(2026, 2, 20, 5, tzinfo=UTC)
    times = [before, START, datetime(2026, 3, 9, tzinfo=UTC), before.replace(hour=9)]
    charges = [charge(DAY, ChargePeriodStart=time) for time in times]
    found = invoice(tmp_path, charges)
    rows = rows_of(found)
    assert [row[focus.DAY] for row in rows] == ["2026-03-01", "2026-03-01", "2026-03-02", "2026-03-01"]
    assert [row["ChargePeriodStart"] for row in rows] == times
    assert found.moved == {date(2026, 2, 20): 2, date(2026, 3, 9): 1}


LABELS = {"noria:pipeline": "students", "noria:run": "r1", "noria:stage": "train"}
DEEP = '{"a": ' + "[" * 5000 + "]" * 5000 + "}"
OWN = (focus.PIPELINE, focus.RUN, focus.STAGE)
TAGS: dict[str, tuple[str | None, str | None, tuple[str | None, ...]]] = {
    "an object": (json.dumps(LABELS), json.dumps(LABELS), ("students", "r1", "train")),
    "without braces": ('"noria:run": "r1","team": "é"', '{"noria:run": "r1", "team": "é"}', (None, "r1", None)),
    "written in capitals": ('{"Noria:Pipeline": "taxi"}', '{"Noria:Pipeline": "taxi"}', ("taxi", None, None)),
    "of others": ('{"team": "a"}', '{"team": "a"}', (None, None, None)),
    "empty": ("", "{}", (None, None, None)),
    "none": (None, None, (None, None, None)),
    "no JSON": ("team: a", "team: a", (None, None, None)),
    "half a character": ('{"noria:run": "\\ud800"}', '{"noria:run": "\\ud800"}', (None, None, None)),
    "half a character, without braces": ('"a": "\\ud800"', '"a": "\\ud800"', (None, None, None)),
    "too deep": (DEEP, DEEP, (None, None, None)),
}


@pytest.mark.parametrize("kind", TAGS)
def test_tags(kind: str, tmp_path: Path) -> None:
    delivered, kept, labels = TAGS[kind]
    (row,) = rows_of(invoice(tmp_path, [charge(DAY, Tags=delivered)], types={"Tags": TEXT}))
    assert row["Tags"] == kept and tuple(row[name] for name in OWN) == labels


def test_tags_as_a_map(tmp_path: Path) -> None:
    """FOCUS's own type for them."""
    charges = [charge(DAY, Tags=tags) for tags in (list(LABELS.items()), [], None)]
    first, second, third = rows_of(invoice(tmp_path, charges, types={"Tags": pa.map_(TEXT, TEXT)}))
    assert json.loads(first["Tags"]) == LABELS and tuple(first[name] for name in OWN) == ("students", "r1", "train")
    assert (second["Tags"], third["Tags"], second[focus.RUN]) == ("{}", None, None)


@pytest.mark.parametrize("spelled", ["eur", " EUR", "Eur\t"])
def test_a_currency_has_one_spelling(spelled: str, tmp_path: Path) -> None:
    rows = rows_of(invoice(tmp_path, [charge(DAY, currency="EUR"), charge(DAY, currency=spelled)]))
    assert [row["BillingCurrency"] for row in rows] == ["EUR", "EUR"]


def test_columns_are_known_in_any_case(tmp_path: Path) -> None:
    delivered = {name.upper(): value for name, value in charge(DAY, "2.5").items()}
    (row,) = rows_of(invoice(tmp_path, [delivered]))
    assert (row["BilledCost"], row["BillingCurrency"], row[focus.RUN]) == (Decimal("2.5"), "EUR", "r1")
    assert row["ServiceName"] == "Virtual Machines"


def test_rows_keep_their_own_tags_in_every_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noria.costs.invoice_rows._BATCH_ROWS", 4)
    charges = [charge(DAY, Tags=json.dumps({"noria:run": f"r{n % 5}"}), ResourceId=f"m{n}") for n in range(11)]
    found = rows_of(invoice(tmp_path, charges))
    assert {row["ResourceId"]: row[focus.RUN] for row in found} == {f"m{n}": f"r{n % 5}" for n in range(11)}


def test_the_layout_is_that_of_the_table(tmp_path: Path) -> None:
    (batch,) = invoice(tmp_path, [charge(DAY)]).batches("invoice")
    plain = [pa.string() if pa.types.is_dictionary(kind) else kind for kind in batch.schema.types]
    assert (batch.schema.names, plain) == (focus.schema().names, focus.schema().types)
    assert batch.to_pylist()[0][focus.ORIGIN] == "invoice"


# Columns that nobody knows


def test_unknown_columns_are_kept(tmp_path: Path) -> None:
    """Numbers as decimals, times as times, all else as text; a part may lack them."""
    more = {"x_Text": "a", "x_Count": 3, "x_Usd": 1.1, "x_At": START.replace(tzinfo=None), "x_Yes": True}
    first, second = rows_of(invoice(tmp_path, [charge(DAY, **more)], [charge(DAY)]))
    kept = {**more, "x_Usd": Decimal("1.1"), "x_At": START}
    assert {name: first[name] for name in more} == kept
    assert {name: second[name] for name in more} == dict.fromkeys(more)


def test_an_unknown_column_keeps_the_type_that_the_table_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And is left empty where it cannot be had in that type; that is told, and in nobody's way."""
    stands = pa.schema([*focus.schema(), ("x_Rate", MONEY)])
    found = invoice(tmp_path, [charge(DAY, x_Rate="1.5")], [charge(DAY, x_Rate="much")], stands=stands)
    assert [row["x_Rate"] for row in rows_of(found)] == [Decimal("1.5"), None]
    assert "part 1: row 1: x_Rate is 'much'; expected an amount" in caplog.text


def test_an_unknown_column_has_one_spelling_that_of_the_table_before_the_first_ones(tmp_path: Path) -> None:
    """Delta refuses a table with two that differ in case alone."""
    stands = pa.schema([*focus.schema(), ("x_Rate", MONEY)])
    parts = [charge(DAY, x_rate=Decimal(1), x_New="a")], [charge(DAY, X_RATE=Decimal(2), x_new="b")]
    found = invoice(tmp_path, *parts, types={"x_rate": MONEY, "X_RATE": MONEY}, stands=stands)
    assert found.more == pa.schema([("x_Rate", MONEY), ("x_New", TEXT)])
    assert [(row["x_Rate"], row["x_New"]) for row in rows_of(found)] == [(1, "a"), (2, "b")]


def test_columns_that_cannot_be_kept_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    more = {"x_List": [1], "x with space": "a", "billedcost": "2", "x_ok": "b"}
    with caplog.at_level(logging.WARNING):
        found = invoice(tmp_path, [charge(DAY, **more)] * 3)
        assert found.more.names == ["x_ok"] and len(rows_of(found)) == 3
    assert [record.args[1] for record in caplog.records if isinstance(record.args, tuple)] == [
        "x_List", "x with space", "billedcost"
    ]  # fmt: skip


# What cannot be used


@pytest.mark.parametrize("column", focus.REQUIRED)
def test_a_required_column_that_is_missing_is_named(column: str, tmp_path: Path) -> None:
    whole, lacking = charge(DAY), charge(DAY)
    del lacking[column]
    with pytest.raises(InputError, match=f"part 1 has no column {column}; expected the columns of FOCUS 1.0"):
        invoice(tmp_path, [whole], [lacking])


WRONG: dict[str, tuple[dict[str, Any], dict[str, pa.DataType], str]] = {
    "no number": ({"BilledCost": "much"}, {"BilledCost": TEXT}, ": BilledCost is 'much'; expected an amount of"),
    "not a number": ({"EffectiveCost": float("nan")}, {"EffectiveCost": DOUBLE}, ": EffectiveCost is nan; expected"),
    "too large": (
        {"BilledCost": 1e25},
        {"BilledCost": DOUBLE},
        r": BilledCost is 1e\+25; expected an amount of at most",
    ),
    "no UTF-8": ({"Tags": b"\xff"}, {"Tags": pa.binary()}, ": Tags is b.*; expected text"),
    "no time": ({"ChargePeriodEnd": "soon"}, {"ChargePeriodEnd": TEXT}, ": ChargePeriodEnd is 'soon'; expected a time"),
    "a time beyond all": (
        {"ChargePeriodEnd": "9999-12-31T23:59:59-05:00"},
        {"ChargePeriodEnd": TEXT},
        ": ChargePeriodEnd is '9999.*; expected a time",
    ),
    "tags that are none": (
        {"Tags": [{"a": "b"}]},
        {"Tags": pa.list_(pa.map_(TEXT, TEXT))},
        ": Tags is .*expected text",
    ),
    "tags without text": ({"Tags": [("a", b"b")]}, {"Tags": pa.map_(TEXT, pa.binary())}, ": Tags is .*expected text"),
    "no day": ({"ChargePeriodStart": None}, {}, " has no ChargePeriodStart; expected a time in every row"),
    "no amount": ({"BilledCost": None}, {}, " has no BilledCost; expected an amount in every row"),
    "no double": ({"EffectiveCost": None}, {"EffectiveCost": DOUBLE}, " has no EffectiveCost; expected an amount in"),
    "an empty amount": ({"EffectiveCost": ""}, {"EffectiveCost": TEXT}, " has no EffectiveCost; expected an amount"),
    "no currency": ({"BillingCurrency": None}, {}, " has no BillingCurrency; expected a currency in every row"),
    "a blank currency": ({"BillingCurrency": " "}, {}, " has no BillingCurrency; expected a currency in every row"),
    "an empty currency": ({"BillingCurrency": ""}, {}, " has no BillingCurrency; expected a currency in every row"),
}


@pytest.mark.parametrize("how", WRONG)
def test_values_that_are_not_there_or_cannot_be_understood(how: str, tmp_path: Path) -> None:
    changes, types, expected = WRONG[how]
    with pytest.raises(InputError, match=f"^part 0: row 1{expected}"):
        rows_of(invoice(tmp_path, [charge(NEXT, **changes)], types=types))


@pytest.mark.parametrize("wrong", ["much", None])
@pytest.mark.parametrize("number", [1, 4, 6, 11])
def test_the_first_wrong_row_of_a_file_is_named(
    wrong: str | None, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noria.costs.invoice_rows._BATCH_ROWS", 4)
    costs = [wrong if row in (number, 11) else f"0.{row}" for row in range(1, 12)]
    with pytest.raises(InputError, match=f"^part 0: row {number}(: BilledCost is 'much'| has no BilledCost); "):
        rows_of(invoice(tmp_path, [charge(DAY, BilledCost=cost) for cost in costs], types={"BilledCost": TEXT}))


def test_text_that_is_no_utf8(tmp_path: Path) -> None:
    found = invoice(tmp_path, [charge(DAY)])
    rows = pq.read_table(found.parts[0].file)
    tags = pa.array([b"\xff"]).view(pa.string())
    pq.write_table(rows.set_column(rows.schema.get_field_index("Tags"), "Tags", tags), found.parts[0].file)
    with pytest.raises(InputError, match=r"part 0 .*utf-8"):
        rows_of(found)
