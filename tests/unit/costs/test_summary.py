"""The figures of one night, from tables in a real lake."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from noria.costs.notices import BudgetNotice, notices
from noria.costs.sheet import load_sheet
from noria.costs.summary import CurrencySummary, Summary, summarise
from noria.costs.table import INVOICE, open_costs
from noria.pipeline import load_pipeline
from noria.settings import CHECKOUT, Settings
from noria.workspace import Workspace
from tests.support.charges import DAY, NODE, bill, estimate, nodes, write

SHEET = f"""
currency: USD
machines:
  local: {{ per_vcpu_hour: 0.05, source: a test, date: 2026-11-01 }}
  {NODE}: {{ per_node_hour: 0.4, vcpus: 4, source: a test, date: 2026-11-01 }}
total: {{ per_day: 4, per_month: 10 }}
"""
BEFORE = DAY - timedelta(days=1)


def workspace_at(home: Path) -> Workspace:
    home.mkdir(exist_ok=True)
    (home / "costs.yaml").write_text(SHEET)
    (home / "pipelines" / "broken").mkdir(parents=True, exist_ok=True)
    (home / "pipelines" / "broken" / "pipeline.yaml").write_text("name: broken\n")
    environ = {"NORIA_COSTS": str(home / "costs.yaml"), "NORIA_PIPELINES": str(home / "pipelines")}
    return Workspace.open(Settings.from_env(environ, home=home))


def of_run(number: int, stage: str = "train", **more: Any) -> dict[str, Any]:
    return {"x_Run": f"r{number}", "x_Stage": stage, **more}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A day of last month and one of this that are invoiced, and one that is only metered."""
    workspace = workspace_at(tmp_path_factory.mktemp("summary"))
    workspace.create_run("students", "r1", ui_url="https://airflow/dags/students__retrain/runs/r1")
    workspace.lake.create("runs/students/r1/report/report.html", b"<p>")
    write(
        workspace,
        nodes("1", "7.00", day=date(2026, 10, 31)),
        estimate(NODE, "8", "0.80", day=BEFORE, **of_run(1)),
        nodes("3", "1.20", day=BEFORE, **of_run(1)),
        bill("Key Vault", "1", "10K", "0.03", day=BEFORE),
        bill("Bandwidth", "1", "1 GB", "0.50", "students", day=BEFORE, BillingCurrency="EUR"),
        bill("Bandwidth", "1", "1 GB", "0.70", day=BEFORE, BillingCurrency="EUR"),
        bill("Bandwidth", "1", "1 GB", "0.20", day=BEFORE, BillingCurrency=None),
        estimate("local", "40", "2.00", x_CpuSeconds=72_000.0, x_VcpuSeconds=144_000.0, **of_run(2)),
        estimate("local", "2", "0.10", **of_run(2, "ingest")),
        *(estimate("local", "2", f"0.0{i}", "taxis", **of_run(i)) for i in range(3, 8)),
    )
    return workspace


@pytest.fixture(scope="module")
def summary(workspace: Workspace) -> Summary:
    return summarise(workspace, DAY)


@pytest.fixture(scope="module")
def usd(summary: Summary) -> CurrencySummary:
    return summary.currencies[0]


def test_the_day_the_one_before_and_the_month(usd: CurrencySummary) -> None:
    assert (usd.day, usd.day_before, usd.month) == (Decimal("2.35"), Decimal("1.23"), Decimal("3.58"))
    assert (usd.day_estimate, usd.month_estimate) == (Decimal("2.35"), Decimal("2.35"))
    assert usd.untagged == Decimal("0.03")
    assert usd.forecast_low <= usd.forecast <= usd.forecast_high and usd.forecast > usd.month


def test_currencies_are_apart(summary: Summary) -> None:
    assert [(c.currency, c.month) for c in summary.currencies] == [
        ("USD", Decimal("3.58")), ("EUR", Decimal("1.2")), ("(no currency)", Decimal("0.2")),
    ]  # fmt: skip
    assert summary.currencies[1].budgets == (), "budgets are in the sheet's currency"


def test_costs_are_broken_down_the_dearest_first_and_what_has_no_tag_last(
    usd: CurrencySummary, summary: Summary
) -> None:
    assert [(line.name, line.day, line.month, line.estimate) for line in usd.by_pipeline] == [
        ("students", Decimal("2.1"), Decimal("3.3"), Decimal("2.1")),
        ("taxis", Decimal("0.25"), Decimal("0.25"), Decimal("0.25")),
        (None, 0, Decimal("0.03"), 0),
    ]
    assert [line.name for line in summary.currencies[1].by_pipeline] == ["students", None], "though it is dearer"
    assert [line.name for line in usd.by_stage] == ["train", "ingest", None]
    assert [line.name for line in usd.by_service] == ["Local Machine", "Virtual Machines", "Key Vault"]
    for lines in (usd.by_pipeline, usd.by_stage, usd.by_service, usd.by_machine):
        assert sum(line.month for line in lines) == usd.month


def test_the_five_dearest_runs_know_where_they_are(usd: CurrencySummary) -> None:
    assert [(run.pipeline, run.run_id) for run in usd.runs] == [
        ("students", "r2"), ("students", "r1"), ("taxis", "r7"), ("taxis", "r6"), ("taxis", "r5"),
    ]  # fmt: skip
    metered, invoiced = usd.runs[:2]
    assert metered.by_stage == {"train": 2, "ingest": Decimal("0.1")}
    assert (metered.is_estimate, metered.cpu_seconds, metered.vcpu_seconds) == (True, 72_000, 144_000)
    assert (metered.airflow_url, metered.report) == (None, None), "a run that is gone has no links"
    assert (invoiced.cost, invoiced.is_estimate) == (Decimal("1.2"), False)
    assert invoiced.airflow_url == "https://airflow/dags/students__retrain/runs/r1"
    assert invoiced.report == "runs/students/r1/report/report.html"


def test_the_series_has_every_day(usd: CurrencySummary) -> None:
    assert len(usd.days) == 31 and usd.days[-1].day == DAY
    assert [day.day.isoformat() for day in usd.days if day.total] == ["2026-10-31", "2026-11-19", "2026-11-20"]
    before, today = usd.days[-2:]
    assert (before.estimate, before.by_pipeline) == (0, {"students": Decimal("1.2"), "": Decimal("0.03")})
    assert today.estimate == today.total == Decimal("2.35")


def test_bounds_say_how_much_is_used_and_broken_specs_are_told(usd: CurrencySummary, summary: Summary) -> None:
    day, month = usd.budgets
    assert (day.pipeline, day.period, day.share) == (None, "day", pytest.approx(0.5875))
    assert (month.period, month.spent, month.forecast) == ("month", Decimal("3.58"), usd.forecast)
    broken, *uncounted = summary.notes
    assert broken.startswith("The budget of broken cannot be read: ")
    assert [note.split(" since ")[0] for note in uncounted] == ["Charges of 0.20 (no currency)", "Charges of 1.20 EUR"]


def test_what_was_used_without_a_price_is_told(tmp_path: Path) -> None:
    workspace = workspace_at(tmp_path)
    write(workspace, estimate(NODE, "8", "0", ListUnitPrice=None), estimate("local", "2", "0.10"))
    assert summarise(workspace, DAY).notes[1:] == (
        f"No price for {NODE} since {DAY}: its use costs nothing in the estimates; add it to the price sheet and run "
        f"export_costs with --since {DAY}.",
    )


def test_reconciliation_and_efficiency_are_part_of_it(usd: CurrencySummary) -> None:
    assert usd.reconciliation is not None
    assert usd.reconciliation.total.invoice == Decimal("8.23"), "of the last 31 days"
    assert [line.pipeline for line in usd.efficiency] == ["students", "taxis"]


def test_a_day_whose_invoice_is_empty_is_reconciled(tmp_path: Path) -> None:
    """The only one with an invoice; the other's estimate stands."""
    workspace = workspace_at(tmp_path)
    write(workspace, estimate("local", "8", "0.76", day=BEFORE), estimate("local", "8", "0.81"))
    at = datetime(2026, 11, 21, 4, tzinfo=UTC)
    open_costs(workspace).replace_days([BEFORE], [], origin=INVOICE, submitted_at=at, reason="a test")
    (usd,) = summarise(workspace, DAY).currencies
    assert usd.reconciliation is not None
    total = usd.reconciliation.total
    assert (usd.reconciliation.days, total.estimate, total.invoice) == (1, Decimal("0.76"), 0)
    assert total.parts.not_invoiced == Decimal("-0.76") == total.difference


def test_page_and_mails_forecast_the_same_of_a_pipeline(tmp_path: Path) -> None:
    """Of one that is three days old, and of one that has run long ago too, beside an old one."""
    workspace = replace(workspace_at(tmp_path), clock=lambda: datetime(2026, 11, 21, 3, 30, tzinfo=UTC))
    shipped = (CHECKOUT / "include" / "pipelines" / "students" / "pipeline.yaml").read_text()
    ran = {"old": range(10), "seldom": (0, 45), "young": range(3)}
    for name in ran:
        spec = tmp_path / "pipelines" / name / "pipeline.yaml"
        spec.parent.mkdir()
        spec.write_text(shipped.replace("name: students", f"name: {name}") + "budget: {per_month: 1}\n")
    write(
        workspace,
        *(estimate("local", "200", "10", n, day=DAY - timedelta(days=ago)) for n, days in ran.items() for ago in days),
    )
    page = {use.pipeline: use.forecast for use in summarise(workspace, DAY).currencies[0].budgets if use.pipeline}
    bounded = [load_pipeline(name, workspace.settings.pipelines) for name in ran]
    told = notices(workspace, bounded, load_sheet(workspace.settings.costs_file))
    mails = {
        notice.pipeline: notice.forecast for notice in told if isinstance(notice, BudgetNotice) and notice.pipeline
    }
    assert page == {name: forecast.total for name, forecast in mails.items()}
    assert {name: forecast.days for name, forecast in mails.items()} == {"old": 10, "seldom": 28, "young": 3}


def test_page_and_mails_hold_a_pipeline_to_its_estimates_where_the_invoice_names_nobody(tmp_path: Path) -> None:
    workspace = replace(workspace_at(tmp_path), clock=lambda: datetime(2026, 11, 21, 3, 30, tzinfo=UTC))
    shipped = (CHECKOUT / "include" / "pipelines" / "students" / "pipeline.yaml").read_text()
    spec = tmp_path / "pipelines" / "pupils" / "pipeline.yaml"
    spec.parent.mkdir()
    spec.write_text(shipped.replace("name: students", "name: pupils") + "budget: {per_day: 9, per_month: 20}\n")
    long_ago = DAY - timedelta(days=40)
    days = (long_ago, DAY - timedelta(days=2), BEFORE, DAY)
    write(workspace, *(estimate("local", "160", "8", "pupils", day=day) for day in days))
    write(workspace, *(bill("Virtual Machines", "1", "1 Hour", "8.5", day=day) for day in (long_ago, BEFORE, DAY)))
    page = summarise(workspace, DAY).currencies[0]
    assert [(use.pipeline, use.spent) for use in page.budgets] == [
        (None, Decimal("8.5")), (None, 25), ("pupils", 8), ("pupils", 24),
    ]  # fmt: skip
    assert [(line.name, line.month) for line in page.by_pipeline] == [("pupils", 8), (None, 17)], "as it was charged"
    bounded = [load_pipeline("pupils", workspace.settings.pipelines)]
    told = notices(workspace, bounded, load_sheet(workspace.settings.costs_file))
    mails = [notice for notice in told if isinstance(notice, BudgetNotice) and notice.pipeline]
    assert [(n.key, n.kind, n.percent, n.spent) for n in mails] == [
        ("per_day", "spent", 80, 8), ("per_month", "spent", 100, 24),
    ]  # fmt: skip
    assert mails[1].forecast.days == 28 and mails[1].forecast.total == page.budgets[3].forecast


def test_it_is_a_record_that_reads_back(summary: Summary) -> None:
    assert Summary.model_validate_json(summary.model_dump_json()) == summary


def test_without_any_costs_there_are_no_currencies_and_the_prices_are_told(tmp_path: Path) -> None:
    summary = summarise(workspace_at(tmp_path), DAY)
    assert summary.currencies == ()
    assert [(p.what, p.price, p.unit) for p in summary.prices] == [
        ("local", Decimal("0.05"), "vCPU hour"),
        (NODE, Decimal("0.4"), "node hour"),
    ]
