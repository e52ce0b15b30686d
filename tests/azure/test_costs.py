"""Cost Management on the twin: the invoice's whole way into the table, and budgets."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from noria.azure import COSTS
from noria.azure.cost_client import CostClient
from noria.compute.process import ChildJob
from noria.costs import focus
from noria.costs.cost_management import (
    NoFocusError,
    Requested,
    ingest_queried,
    query_days,
    request_missing,
    sync_budgets,
)
from noria.costs.cost_management.budgets import TOTAL, budget_name
from noria.costs.invoices import ingest
from noria.costs.sheet import PriceSheet
from noria.costs.table import open_costs
from noria.costs.usage import keep_usage
from noria.doctor.azure.costs import check_costs
from noria.errors import AccessError, InputError, RefusedError, UnavailableError
from noria.jobs.costs import STEPS, StepRecord, step_path, work
from noria.pipeline import Pipeline
from noria.records import JobUsage, Usage
from noria.settings import Settings
from noria.workspace import Workspace
from tests.azure.twin.client import Twin
from tests.support.pipelines import students

pytestmark = pytest.mark.slow
NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)
NOVEMBER = [date(2026, 11, day) for day in range(1, 21)]
CLUSTER = "/subscriptions/s/resourceGroups/noria/providers/Microsoft.MachineLearningServices/workspaces/noria"
TAGS = {"noria:pipeline": "students", "noria:run": "r1", "noria:stage": "train"}
EXPORT = "Microsoft.CostManagement/exports"


class Azure:
    """The twin's invoice, and a workspace that is billed."""

    def __init__(self, twin: Twin, workspace: Workspace) -> None:
        self.twin, self.workspace = twin, workspace
        self.client = CostClient(twin.connection(COSTS))
        self.at(NOW)

    def at(self, now: datetime) -> None:
        """The time, for both."""
        self.twin.set("costs", now=now.isoformat())
        self.workspace = dataclasses.replace(self.workspace, clock=lambda: now)

    def bills(self, *charges: dict[str, Any], **knobs: Any) -> None:
        """What there is to be invoiced, and how it is delivered."""
        self.twin.set("costs", invoice=list(charges), **knobs)

    def requested(self, *days: date) -> Requested:
        return request_missing(self.workspace, days or NOVEMBER)

    def night(self, *days: date) -> dict[str, dict[str, Decimal]]:
        """A whole night; afterwards the table's cost by day and currency."""
        self.requested(*days)
        ingest(self.workspace)
        return self.costs()

    def step(self, step: str) -> StepRecord:
        """A step of a night, as its job does it."""
        args = argparse.Namespace(step=step, since=None, until=None, page_url="")
        return StepRecord.model_validate_json(self.workspace.lake.read(work(args, self.workspace)))

    def costs(self) -> dict[str, dict[str, Decimal]]:
        found: dict[str, dict[str, Decimal]] = defaultdict(dict)
        for row in self.rows():
            day, currency = row[focus.DAY], row["BillingCurrency"]
            found[day][currency] = found[day].get(currency, Decimal()) + row["BilledCost"]
        return dict(found)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = open_costs(self.workspace).read(date(2026, 1, 1), date(2027, 1, 1)).to_pylist()
        return rows

    def version(self) -> int:
        return len(open_costs(self.workspace).history())

    def runs(self) -> list[tuple[str, str]]:
        facts = [run["properties"] for run in reversed(self.client.runs())]
        return [(run["startDate"][:10], run["endDate"][:10]) for run in facts]


@pytest.fixture
def azure(twin: Twin, tmp_path: Path) -> Azure:
    twin.set("costs")  # a subscription's invoice is not ours to write: it is skipped here
    settings = Settings.from_env({**twin.environment, "NORIA_LAKE_URL": twin.lake_url()}, home=tmp_path)
    # Each test has an export, and with it a history, of its own.
    connection = json.loads(twin.environment["AIRFLOW_CONN_AZURE_COSTS"])
    connection["extra"]["exportName"] = f"noria-{tmp_path.parent.name}-{tmp_path.name}"[-60:].replace("_", "-")
    azure = Azure(twin, Workspace.open(settings, {COSTS: json.dumps(connection)}))
    azure.client = CostClient(azure.workspace.connection(COSTS))  # type: ignore[arg-type]
    return azure


def charge(day: int | date, cost: str, **more: Any) -> dict[str, Any]:
    when = day if isinstance(day, date) else date(2026, 11, day)
    return {"day": str(when), "cost": cost, "resource": CLUSTER} | more


def test_an_export_is_made_run_delivered_and_ingested_once(azure: Azure) -> None:
    azure.bills(charge(2, "1.10", tags=TAGS), charge(2, "0.20"), charge(20, "3.33"))

    assert azure.requested() == Requested(asked=tuple(NOVEMBER))

    ingest(azure.workspace)
    assert azure.costs() == {"2026-11-02": {"EUR": Decimal("1.30")}, "2026-11-20": {"EUR": Decimal("3.33")}}
    tagged = next(row for row in azure.rows() if row["BilledCost"] == Decimal("1.10"))
    assert [tagged[name] for name in (focus.ORIGIN, focus.PIPELINE, focus.RUN, focus.STAGE)] == [
        "invoice",
        "students",
        "r1",
        "train",
    ]
    assert azure.runs() == [("2026-11-01", "2026-11-20")], "one run for all days"
    kept = azure.client.export()
    assert kept is not None
    definition, place = kept["properties"]["definition"], kept["properties"]["deliveryInfo"]["destination"]
    assert definition["dataSet"]["configuration"]["dataVersion"] == "1.0r2"
    assert (definition["type"], definition["timeframe"]) == ("FocusCost", "MonthToDate")
    assert place["rootFolderPath"].endswith("/exports/costs")
    # A second night at the same time does nothing at all.
    before = azure.version()
    azure.twin.reset()
    azure.at(NOW)
    assert azure.requested() == Requested()
    ingest(azure.workspace)
    assert azure.version() == before
    assert {seen.method for seen in azure.twin.requests("management")} == {"GET"}


def test_an_export_that_somebody_changed_is_mended_and_one_that_is_equal_left(azure: Azure) -> None:
    azure.requested(date(2026, 11, 20))
    kept = azure.client.export()
    assert kept is not None
    kept["properties"].pop("nextRunTimeEstimate")
    kept["properties"]["format"], kept["properties"]["compressionMode"] = "Csv", "gzip"
    azure.client.put_export({key: kept[key] for key in ("properties", "eTag")})
    azure.twin.fault("management", method="PUT", path=EXPORT, times=1, status=412, body='{"error": {"code": "X"}}')

    azure.requested(date(2026, 11, 20))

    mended = azure.client.export()
    assert mended is not None and mended["properties"]["format"] == "Parquet"
    azure.at(NOW + timedelta(days=365 * 5 - 20))
    azure.requested(date(2026, 11, 20))
    renewed = azure.client.export()
    assert renewed is not None and renewed["eTag"] != mended["eTag"], "its schedule was to end"


MISBEHAVIOURS: dict[str, dict[str, Any]] = {
    "parts": {"parts": 3},
    "twice": {"twice": True},
    "unknown column": {"extra_column": "x_Surprise"},
}


@pytest.mark.parametrize("case", MISBEHAVIOURS)
def test_however_it_is_delivered_the_table_is_right_to_the_cent(azure: Azure, case: str) -> None:
    azure.bills(charge(1, "0.10"), charge(1, "0.20"), charge(2, "7.77"), charge(2, "1.00", currency="USD"))
    azure.twin.set("costs", **MISBEHAVIOURS[case])
    wanted = {
        "2026-11-01": {"EUR": Decimal("0.30")},
        "2026-11-02": {"EUR": Decimal("7.77"), "USD": Decimal("1.00")},
    }
    assert azure.night() == wanted
    before = azure.version()
    assert azure.night() == wanted
    assert azure.version() == before


@pytest.mark.parametrize("late", ["all", "manifest"])
def test_what_comes_late_is_waited_for_and_not_asked_for_again(azure: Azure, late: str) -> None:
    azure.bills(charge(3, "5.00"), late=late)
    assert azure.requested().asked == tuple(NOVEMBER)
    ingest(azure.workspace)
    assert not azure.costs()

    assert azure.requested() == Requested(waiting=tuple(NOVEMBER))
    azure.twin.set("costs", late=None)
    azure.requested()  # asks for the history, at which the twin delivers

    ingest(azure.workspace)
    assert azure.costs() == {"2026-11-03": {"EUR": Decimal("5.00")}}
    assert len(azure.runs()) == 1


def test_a_run_that_failed_is_asked_for_again_an_hour_later_and_one_that_hangs_after_a_day(azure: Azure) -> None:
    day = date(2026, 11, 20)
    azure.bills(charge(20, "2.00"), status="Failed")
    assert azure.requested(day).asked == (day,)
    assert azure.requested(day) == Requested(), "a night does not wait for it either"
    azure.twin.set("costs", status="Queued")
    azure.at(NOW + timedelta(hours=2))
    assert azure.requested(day).asked == (day,)
    azure.at(NOW + timedelta(hours=20))
    assert azure.requested(day).waiting == (day,)
    azure.at(NOW + timedelta(hours=27))
    assert azure.requested(day).asked == (day,)


def test_restated_days_take_the_place_of_the_old_ones_and_the_history_keeps_both(azure: Azure) -> None:
    october = [date(2026, 10, day) for day in (30, 31)]
    azure.at(datetime(2026, 11, 2, 3, tzinfo=UTC))
    azure.bills(charge(october[0], "1.00"), charge(october[1], "4.00"))
    azure.night(*october)
    asked = []
    for day in (3, 5, 6, 20):
        azure.at(datetime(2026, 11, day, 3, tzinfo=UTC))
        azure.bills(charge(october[0], "1.00"), charge(october[1], f"4.0{day % 10}"))
        asked.append(bool(azure.requested(*october).asked))
        ingest(azure.workspace)
    assert asked == [True, True, False, False], "until the fifth"
    assert azure.costs()["2026-10-31"] == {"EUR": Decimal("4.05")}
    history = open_costs(azure.workspace).history()
    assert [commit.after["EUR"] for commit in history] == [Decimal("5.00"), Decimal("5.03"), Decimal("5.05")]


def test_a_missing_day_comes_with_the_next_delivery(azure: Azure) -> None:
    azure.bills(charge(18, "1.00"), charge(19, "2.00"), charge(20, "3.00"), missing=["2026-11-19"])
    assert "2026-11-19" not in azure.night()
    azure.twin.set("costs", missing=[])
    azure.at(NOW + timedelta(hours=8))
    azure.client._sdk.exports.execute(azure.client.scope, azure.client.export_name)  # as the schedule does
    assert azure.night()["2026-11-19"] == {"EUR": Decimal("2.00")}
    assert azure.night().keys() == {"2026-11-18", "2026-11-19", "2026-11-20"}


def test_an_empty_delivery_costs_nothing(azure: Azure) -> None:
    azure.bills()
    assert azure.night() == {}
    assert azure.requested() == Requested()


def test_few_runs_are_under_way_at_once(azure: Azure) -> None:
    azure.bills(late="all")
    months = [date(2026, month, 15) for month in range(3, 12)]
    first = azure.requested(*months)
    assert first.asked == tuple(months[-4:]) and first.later == tuple(months[:-4])
    assert azure.requested(*months).later == first.later
    assert len(azure.runs()) == 4


def test_doctor_tells_of_the_export_and_of_its_newest_run(azure: Azure) -> None:
    connection = azure.workspace.connection(COSTS)
    assert connection is not None
    status, said, _ = check_costs(connection)
    assert (status, "made by the first night" in said) == ("ok", True)
    azure.bills(status="Failed")
    azure.requested(NOVEMBER[0])
    status, said, remedy = check_costs(connection)
    assert status == "warn" and f"export {azure.client.export_name}" in said and "is Failed" in said
    assert "Cost Management, Exports" in remedy


def test_the_twin_takes_only_what_the_sdk_knows(azure: Azure) -> None:
    azure.requested(NOVEMBER[0])
    kept = azure.client.export()
    assert kept is not None
    kept["properties"].pop("nextRunTimeEstimate")

    def refused(key: str, value: Any, said: str) -> None:
        *folders, last = key.split(".")
        body = copy.deepcopy({"properties": kept["properties"], "eTag": kept["eTag"]})
        place: dict[str, Any] = body
        for folder in folders:
            place = place[folder]
        place[last] = value
        if value is None:
            del place[last]
        with pytest.raises(RefusedError, match=said):
            azure.client.put_export(body)

    refused("properties.definition.type", "FocusCosts", "FocusCost")
    refused("properties.definition.dataSet.configuration.version", "1.0", "no such key")
    refused("properties.deliveryInfo.destination.container", None, "container: missing")
    refused("properties.partitionData", "yes", "expected bool")
    refused("properties.nextRunTimeEstimate", "2026-11-22T00:00:00Z", "only the service sets it")
    refused("properties.schedule.recurrencePeriod.from", "2026-11-01T00:00:00Z", "must be in the future")
    assert len(azure.twin.wrong_bodies()) == 5
    refused("eTag", '"stale"', "eTag does not match")


# Where there is no export


def test_an_account_without_focus_is_asked_by_query(azure: Azure) -> None:
    days = [date(2026, 11, 19), date(2026, 11, 20)]
    azure.bills(
        charge(19, "1.25", tags=TAGS),
        charge(19, "0.75", tags=TAGS | {"noria:run": "r2"}),
        charge(19, "0.40"),
        charge(19, "2.00", currency="USD"),
        charge(20, "3.00", tags={"noria:pipeline": "bikes"}),
        agreement="WebDirect",
        page=1,
    )
    with pytest.raises(NoFocusError, match="Agreement Type: WebDirect"):
        azure.requested()

    table = open_costs(azure.workspace)
    table.replace_days(days, [], origin="metering", submitted_at=NOW, reason="metered")  # an estimate is in no way
    old = date(2026, 11, 18)  # nothing was charged, and nothing will be
    assert ingest_queried(azure.workspace, [*days, old]) == [old, *days]

    assert azure.costs() == {
        "2026-11-19": {"EUR": Decimal("2.40"), "USD": Decimal("2.00")},
        "2026-11-20": {"EUR": Decimal("3.00")},
    }
    labels = {(row[focus.PIPELINE], row[focus.RUN], row["BilledCost"]) for row in azure.rows()}
    assert labels == {
        ("students", "r1", Decimal("1.25")),
        ("students", "r2", Decimal("0.75")),
        (None, None, Decimal("0.40")),
        (None, None, Decimal("2.00")),
        ("bikes", None, Decimal("3.00")),
    }
    assert {row["ServiceName"] for row in azure.rows()} == {"Azure Machine Learning"}
    assert {row[focus.ORIGIN] for row in azure.rows()} == {"query"}
    assert len(azure.twin.requests("management", "POST", r"skiptoken")) == 3
    # Again in the same night nothing is asked; what comes in late is taken the next night, until the day is old.
    seen = len(azure.twin.requests("management"))
    assert ingest_queried(azure.workspace, [*days, old]) == []
    assert len(azure.twin.requests("management")) == seen
    azure.bills(charge(19, "9.99"))
    azure.at(NOW + timedelta(days=1))
    assert ingest_queried(azure.workspace, days[:1]) == days[:1]
    assert azure.costs()["2026-11-19"] == {"EUR": Decimal("9.99")}
    azure.at(NOW + timedelta(days=2))
    assert ingest_queried(azure.workspace, days[:1]) == []
    assert sum(batch.num_rows for batch in query_days(azure.workspace, days)) == 1


def test_an_account_whose_exports_are_refused_whatever_the_role_is_asked_by_query(azure: Azure) -> None:
    azure.bills(agreement="individual")
    with pytest.raises(NoFocusError, match="RBACAccessDenied"):
        azure.requested()


# Refusals

FORBIDDEN = {"error": {"code": "AuthorizationFailed", "message": "The client does not have authorization."}}


def test_a_missing_role_is_named(azure: Azure) -> None:
    azure.twin.fault("management", status=403, body=json.dumps(FORBIDDEN))
    scope = r"role Cost Management Contributor on what extra\.scope of the connection azure_costs names"
    for ask in (azure.requested, lambda: ingest_queried(azure.workspace, NOVEMBER[:1]), lambda: budgets(azure)):
        with pytest.raises(AccessError, match=scope):
            ask()
    azure.twin.reset()
    azure.at(NOW)
    azure.bills(storage_forbidden=True)
    with pytest.raises(AccessError, match="role Storage Account Contributor on the storage account of the lake"):
        azure.requested()


def test_a_connection_that_cannot_be_meant_is_told(azure: Azure) -> None:
    def with_extra(**extra: str) -> Workspace:
        facts = json.loads(azure.workspace.credentials[COSTS])
        return dataclasses.replace(
            azure.workspace, credentials={COSTS: json.dumps(facts | {"extra": facts["extra"] | extra})}
        )

    other = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/other"
    with pytest.raises(InputError, match="the id of the lake's storage account, devstoreaccount1"):
        request_missing(with_extra(storageAccountId=other), NOVEMBER)
    with pytest.raises(InputError, match="/subscriptions/ID or"):
        request_missing(with_extra(scope="/providers/Microsoft.Billing/x"), NOVEMBER)


def test_throttling_is_waited_out_as_the_service_asks(azure: Azure) -> None:
    headers = {
        "x-ms-ratelimit-microsoft.costmanagement-qpu-retry-after": "1",
        "x-ms-ratelimit-microsoft.costmanagement-entity-retry-after": "0",
    }
    body = '{"error": {"code": "429", "message": "Too many requests. Please retry."}}'
    azure.bills(charge(20, "1.00"))
    azure.twin.fault("management", method="POST", path="query", times=1, status=429, headers=headers, body=body)
    begun = datetime.now(UTC)
    assert ingest_queried(azure.workspace, NOVEMBER[-1:]) == NOVEMBER[-1:]
    assert datetime.now(UTC) - begun >= timedelta(seconds=1)

    hour = {"x-ms-ratelimit-microsoft.costmanagement-tenant-retry-after": "3600"}
    azure.twin.fault("management", method="GET", path=EXPORT, times=1, status=429, headers=hour, body=body)
    with pytest.raises(UnavailableError, match="Cost Management of /subscriptions/"):
        azure.requested()


def test_a_lost_answer_to_a_run_leaves_one_run(azure: Azure) -> None:
    azure.bills(charge(20, "1.00"))
    azure.twin.fault("management", method="POST", path="/run", times=1, lose_response=True)
    assert azure.night() == {"2026-11-20": {"EUR": Decimal("1.00")}}
    assert len(azure.runs()) == 1


# Budgets


def budgets(azure: Azure, *pipelines: Pipeline, total: float | None = None) -> list[str]:
    sheet = PriceSheet.model_validate(
        {"currency": "EUR", "total": {"per_month": total}, "report": {"emails": ["boss@example.org"]}}
    )
    return sync_budgets(azure.workspace, pipelines, sheet)


def billed(name: str, per_month: float | None, *emails: str) -> Pipeline:
    return students(name=name, budget={"per_month": per_month}, alerts={"emails": emails})


@pytest.fixture
def no_budgets(azure: Azure) -> Iterator[None]:
    yield
    azure.twin.reset()
    for budget in azure.client.budgets():
        azure.client.delete_budget(budget["name"])


@pytest.mark.usefixtures("no_budgets")
def test_budgets_are_kept_in_line_with_the_specs_and_no_others_are_touched(azure: Azure) -> None:
    def kept() -> dict[str, dict[str, Any]]:
        return {budget["name"]: budget["properties"] for budget in azure.client.budgets()}

    own, bikes = billed("pupils", 50, "a@example.org", "b@example.org"), billed("bikes", 10, "a@example.org")
    budgets(azure, total=1)
    foreign = azure.client.budgets()[0]
    foreign["properties"].pop("currentSpend")
    others = {"noria-dev-abc", budget_name("students")}
    for name in others:  # that of infra/, and one whose pipeline.yaml cannot be read at the moment
        azure.client.put_budget(name, {"properties": foreign["properties"]})

    said = budgets(azure, own, bikes, billed("free", None, "a@example.org"), billed("mute", 5), total=100.5)

    assert len(said) == 3
    found = kept()
    assert found.keys() == {budget_name("pupils"), budget_name("bikes"), TOTAL, *others}
    filtered = found[budget_name("pupils")]
    assert filtered["filter"] == {"tags": {"name": "noria:pipeline", "operator": "In", "values": ["pupils"]}}
    assert (filtered["amount"], found[TOTAL]["amount"], "filter" in found[TOTAL]) == (50.0, 100.5, False)
    told = {(n["thresholdType"], n["threshold"]) for n in filtered["notifications"].values()}
    assert told == {(kind, float(at)) for kind in ("Actual", "Forecasted") for at in (50, 80, 100)}
    assert {tuple(n["contactEmails"]) for n in filtered["notifications"].values()} == {
        ("a@example.org", "b@example.org")
    }
    # Equal ones are not sent; one that changed keeps its beginning, one that lost its bound goes.
    seen = len(azure.twin.requests("management", "PUT"))
    assert budgets(azure, bikes, own, total=100.5) == []
    assert len(azure.twin.requests("management", "PUT")) == seen
    azure.at(NOW + timedelta(days=40))
    assert len(budgets(azure, billed("pupils", 60, "a@example.org"), total=100.5)) == 2
    assert kept().keys() == {budget_name("pupils"), TOTAL, *others}
    assert kept()[budget_name("pupils")]["timePeriod"]["startDate"].startswith("2026-11-01")
    budgets(azure)
    assert kept().keys() == others


@pytest.mark.usefixtures("no_budgets")
def test_a_whole_night_through_the_job(azure: Azure) -> None:
    now = datetime.now(UTC)
    invoiced, last = now.date() - timedelta(days=3), now.date() - timedelta(days=1)
    azure.at(now)
    azure.bills(charge(invoiced, "7.77", tags=TAGS))
    usage = Usage(wall_seconds=10, cpu_seconds=9, peak_rss_bytes=1, vcpu_seconds=3600)
    for day in (invoiced, last):
        began = datetime.combine(day, time(12), UTC)
        facts = {"pipeline": "students", "run_id": "r1", "stage": "train", "outcome": "done", "usage": usage}
        ended = {"started_at": began, "finished_at": began + timedelta(seconds=10)}
        keep_usage(JobUsage.model_validate(facts | ended), azure.workspace.lake)

    # One step as Airflow runs it; what is in the connection reaches the job through a pipe.
    settings, credentials = azure.workspace.settings, dict(azure.workspace.credentials)
    assert ChildJob("costs", ["meter"], settings, credentials=credentials).run() == step_path("meter")
    for step in list(STEPS)[1:]:
        done = azure.step(step)
    assert done.days[-1] == last, "a page for the last day"

    costs = {row[focus.DAY]: (row[focus.ORIGIN], row["BilledCost"]) for row in azure.rows() if row[focus.STAGE]}
    assert costs[str(invoiced)] == ("invoice", Decimal("7.77"))
    assert costs[str(last)][0] == "metering"
    page = azure.workspace.lake.read(f"reports/costs/{last}.html").decode()
    assert "7.77" in page
    before = azure.version()
    assert [azure.step(step).days for step in ("meter", "export", "ingest")] == [(), (), ()]
    assert azure.version() == before
