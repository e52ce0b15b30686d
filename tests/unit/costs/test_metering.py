import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from noria.costs import focus
from noria.costs.metering import findings, meter_days, metered_rows
from noria.costs.runs import run_costs, stage_uses
from noria.costs.sheet import PriceSheet
from noria.costs.table import INVOICE, open_costs, open_metered
from noria.costs.usage import keep_usage, measure_stored, stored, usage_path
from noria.records import JobUsage, Usage
from noria.settings import Settings
from noria.workspace import Workspace

DAY = date(2026, 2, 10)
NOON = datetime(2026, 2, 10, 12, tzinfo=UTC)
HOUR = Usage(
    wall_seconds=1800, cpu_seconds=900, peak_rss_bytes=2**30, vcpu_seconds=3600, memory_byte_seconds=2**31 * 3600
)
Keep = Callable[..., JobUsage]


def priced(**machines: dict[str, object]) -> PriceSheet:
    told = {"source": "me", "date": "2026-02-01"}
    return PriceSheet.model_validate(
        {
            "currency": "EUR",
            "machines": {name.replace("__", "/"): {**price, **told} for name, price in machines.items()},
            "storage": {"per_gb_month": "0.028", **told},
            "requests": {"per_10000_reads": "0.005", "per_10000_writes": "0.06", **told},
        }
    )


SHEET = priced(local={"per_vcpu_hour": "0.05"}, azureml__Standard_DS3_v2={"per_node_hour": "0.3", "vcpus": 4})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    ticks = iter(range(10**6))
    opened = Workspace.open(Settings.from_env({}, home=tmp_path))
    return replace(opened, clock=lambda: NOON + timedelta(days=1, seconds=next(ticks)))


@pytest.fixture
def keep(workspace: Workspace) -> Keep:
    def keep(
        stage: str = "train",
        run_id: str = "r1",
        outcome: str = "done",
        started: datetime = NOON,
        finished: datetime | None = None,
        **used: object,
    ) -> JobUsage:
        facts = {"pipeline": "students", "run_id": run_id, "stage": stage, "outcome": outcome}
        end = finished or started + timedelta(minutes=30)
        usage = HOUR.model_copy(update=used)
        job = JobUsage.model_validate({**facts, "started_at": started, "finished_at": end, "usage": usage})
        keep_usage(job, workspace.lake)
        return job

    return keep


def costs(rows: pa.Table) -> dict[str, Decimal]:
    return {row["SkuId"]: row["BilledCost"] for row in rows.to_pylist()}


def test_a_job_costs_its_vcpu_time_and_its_requests(workspace: Workspace, keep: Keep) -> None:
    job = keep(requests=30_000, write_requests=10_000)
    rows = metered_rows(workspace, DAY, SHEET)
    assert rows.schema == focus.schema()
    assert costs(rows) == {
        "local": Decimal("0.05"),
        "requests/read": Decimal("0.01"),
        "requests/write": Decimal("0.06"),
    }
    row = rows.to_pylist()[0]
    assert (row["PricingQuantity"], row["PricingUnit"], row["ListUnitPrice"]) == (1, "vCPU-Hours", Decimal("0.05"))
    assert row["EffectiveCost"] == row["ListCost"] == row["ContractedCost"] == row["BilledCost"]
    assert json.loads(row["Tags"]) == {"noria:pipeline": "students", "noria:run": "r1", "noria:stage": "train"}
    assert row["ResourceId"] == usage_path(job) == "metering/2026-02-10/students/r1/train-120000000000.json"
    assert (row["ChargePeriodStart"].date(), row["ChargePeriodEnd"].date()) == (DAY, DAY + timedelta(days=1))
    assert (row["BillingPeriodStart"].date(), row["BillingPeriodEnd"].date()) == (date(2026, 2, 1), date(2026, 3, 1))
    assert (row[focus.DAY], row[focus.ORIGIN], row["BillingCurrency"]) == ("2026-02-10", "metering", "EUR")
    assert (row[focus.VCPU_SECONDS], row[focus.CPU_SECONDS], row[focus.IDLE_SHARE]) == (3600, 900, 0.75)
    obligatory = (
        "ChargeCategory",
        "PricingCategory",
        "ServiceCategory",
        "ServiceName",
        "ProviderName",
        "InvoiceIssuerName",
    )
    assert all(row[name] for name in obligatory)


def test_a_job_belongs_to_the_day_on_which_it_ended(workspace: Workspace, keep: Keep) -> None:
    keep(started=NOON + timedelta(hours=11, minutes=45))
    assert metered_rows(workspace, DAY, SHEET).num_rows == 0
    assert metered_rows(workspace, DAY + timedelta(days=1), SHEET).num_rows == 1


def test_a_node_counts_whole_in_whatever_letters_its_size_is_written(workspace: Workspace, keep: Keep) -> None:
    keep(machine="azureml/STANDARD_DS3_V2", vcpu_seconds=4 * 3600, cpu_seconds=0)
    (row,) = metered_rows(workspace, DAY, SHEET).to_pylist()
    assert row["BilledCost"] == Decimal("0.3")
    assert (row["SkuId"], row[focus.MACHINE]) == ("azureml/Standard_DS3_v2",) * 2
    assert (row["ServiceCategory"], row["ServiceName"]) == ("AI and Machine Learning", "Azure Machine Learning")
    assert row[focus.IDLE_SHARE] is None, "what nobody has measured is not idle"


def test_memory_costs_where_the_sheet_says_so(workspace: Workspace, keep: Keep) -> None:
    keep()
    sheet = priced(local={"per_vcpu_hour": "0.05", "per_memory_gb_hour": "0.01"})
    assert costs(metered_rows(workspace, DAY, sheet)) == {"local": Decimal("0.05"), "local/memory": Decimal("0.02")}


def test_what_has_no_price_costs_nothing_and_says_so(workspace: Workspace, keep: Keep) -> None:
    keep(machine="azureml/Standard_X")
    rows = metered_rows(workspace, DAY, SHEET)
    (row,) = rows.to_pylist()
    assert (row["BilledCost"], row["ListUnitPrice"], row["PricingQuantity"]) == (0, None, 1)
    (found,) = findings(rows)
    assert found.startswith("No price for azureml/Standard_X since 2026-02-10: its use costs nothing in the estimates;")
    keep(stage="report")
    priced_only = metered_rows(workspace, DAY, SHEET).filter(pc.is_valid(pc.field("ListUnitPrice")))
    assert priced_only.num_rows == 1
    assert findings(priced_only) == []


def test_what_is_stored_costs_its_share_of_the_month(workspace: Workspace) -> None:
    workspace.lake.create("runs/students/r1/run.json", b"1" * 1000)
    workspace.lake.create("raw/students/x/data.csv", b"1" * 2**20)
    workspace.lake.create("code/x.py", b"12345")
    measure_stored([DAY], workspace)
    workspace.lake.create("raw/students/y/data.csv", b"1" * 2**20)
    measure_stored([DAY], workspace)  # once a day
    kept = stored(DAY, workspace.lake)
    assert kept is not None and kept.bytes == {"students": 1000 + 2**20, "": 5}
    rows = {row[focus.PIPELINE]: row for row in metered_rows(workspace, DAY, SHEET).to_pylist()}
    month = Decimal(1000 + 2**20) / 2**30 / 28  # February
    assert rows["students"]["BilledCost"] == pytest.approx(month * Decimal("0.028"))
    assert rows["students"]["PricingUnit"] == "GiB-Months"
    assert rows[None]["Tags"] == "{}"


def test_only_folders_that_hold_pipelines_make_one(workspace: Workspace) -> None:
    workspace.lake.create("runs/costs/r1/run.json", b"1")
    for path in ("exports/costs/noria/part.parquet", "reports/costs/2026-02-09.html"):
        workspace.lake.create(path, b"22")
    measure_stored([DAY], workspace)
    kept = stored(DAY, workspace.lake)
    assert kept is not None and kept.bytes == {"costs": 1, "": 4}


def test_a_day_is_metered_once_and_again_where_use_or_prices_changed(workspace: Workspace, keep: Keep) -> None:
    keep()
    assert meter_days(workspace, SHEET, [DAY]) == [DAY]
    assert meter_days(workspace, SHEET, [DAY]) == []
    dearer = priced(local={"per_vcpu_hour": "0.06"})
    assert meter_days(workspace, dearer, [DAY]) == [DAY]
    keep(stage="report")
    assert meter_days(workspace, dearer, [DAY]) == [DAY]
    for table in (open_costs(workspace), open_metered(workspace)):
        rows = table.read(DAY, DAY + timedelta(days=1))
        assert sum(row["BilledCost"] for row in rows.to_pylist() if row[focus.RUN]) == Decimal("0.12")
        assert [change.reason for change in table.history()] == ["metered", *["use or prices have changed"] * 2]


def test_an_invoice_stays_and_the_estimate_beside_it_too(workspace: Workspace, keep: Keep) -> None:
    keep()
    meter_days(workspace, SHEET, [DAY])
    row = metered_rows(workspace, DAY, SHEET).to_pylist()[0] | {"BilledCost": Decimal(7), focus.ORIGIN: INVOICE}
    invoice = pa.Table.from_pylist([row], schema=focus.schema()).to_batches()
    open_costs(workspace).replace_days([DAY], invoice, origin=INVOICE, submitted_at=NOON, reason="delivered")
    keep(stage="report")
    assert meter_days(workspace, SHEET, [DAY]) == [DAY]
    (stands,) = open_costs(workspace).read(DAY, DAY + timedelta(days=1)).to_pylist()
    assert stands["BilledCost"] == 7
    estimates = open_metered(workspace).read(DAY, DAY + timedelta(days=1)).to_pylist()
    assert {row[focus.STAGE] for row in estimates if row[focus.RUN]} == {"train", "report"}


def test_an_account_that_cannot_be_read_is_told_and_passed_over(
    workspace: Workspace, keep: Keep, caplog: pytest.LogCaptureFixture
) -> None:
    keep()
    workspace.lake.create("metering/2026-02-10/students/r1/broken-1.json", b"{")
    assert metered_rows(workspace, DAY, SHEET).num_rows == 1
    assert "broken-1.json is no account" in caplog.text


def test_runs_have_costs_by_stage_and_the_outcome_of_their_last_attempts(workspace: Workspace, keep: Keep) -> None:
    keep(outcome="failed")
    keep(started=NOON + timedelta(minutes=40))
    keep(stage="explore", vcpu_seconds=7200, cpu_seconds=0)  # by Spark, which does not tell
    keep(run_id="r2", outcome="killed")
    keep(run_id="r3", started=NOON + timedelta(hours=11, minutes=45))
    measure_stored([DAY], workspace)
    both = [metered_rows(workspace, day, SHEET) for day in (DAY, DAY + timedelta(days=1))]
    first, second, third = run_costs(pa.concat_tables(both))
    assert (first.run_id, first.day, first.currency, first.outcome) == ("r1", DAY, "EUR", "done")
    assert first.by_stage == {"train": Decimal("0.1"), "explore": Decimal("0.1")}
    assert (first.cost, first.vcpu_seconds, first.cpu_seconds) == (Decimal("0.2"), 14400, 1800)
    assert first.told_vcpu_seconds == 7200
    (use,) = stage_uses(pa.concat_tables(both))
    assert (use.stage, use.machine, use.cost) == ("train", "local", Decimal("0.2"))
    assert (use.vcpu_seconds, use.cpu_seconds) == (14400, 3600)
    assert (second.run_id, second.outcome) == ("r2", "killed")
    assert (third.run_id, third.day) == ("r3", DAY + timedelta(days=1))


def test_two_currencies_are_never_added(workspace: Workspace, keep: Keep) -> None:
    keep()
    euros = metered_rows(workspace, DAY, SHEET)
    dollars = metered_rows(workspace, DAY, SHEET.model_copy(update={"currency": "USD"}))
    found = run_costs(pa.concat_tables([euros, dollars]))
    assert [(run.currency, run.cost) for run in found] == [("EUR", Decimal("0.05")), ("USD", Decimal("0.05"))]
