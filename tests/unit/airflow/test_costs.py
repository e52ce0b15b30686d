"""Steps of the cost export as tasks: what their jobs are asked and given, waiting for Azure, and mails."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from noria.airflow import costs
from noria.airflow.costs import CostsOperator, FailedCostsNotifier, costs_params, settle_failures
from noria.airflow.links import costs_url
from noria.alerts import Alert
from noria.compute.process import ChildJob
from noria.jobs.costs import StepRecord, step_path
from noria.pipeline import Alerts
from noria.settings import Settings
from noria.workspace import Workspace, safe_run_id, to_json

RUN_ID = "scheduled__2026-11-21T03:30:00+00:00"
DAY = date(2026, 11, 20)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    (tmp_path / "costs.yaml").write_text("currency: USD\nreport: { emails: [finance@example.org] }\n")
    monkeypatch.setenv("NORIA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NORIA_COSTS", str(tmp_path / "costs.yaml"))
    return Workspace.open(Settings.from_env())


def task(step: str, **form: Any) -> tuple[CostsOperator, dict[str, Any]]:
    params = ParamsDict(costs_params())
    for name, value in form.items():
        params[name] = value
    with DAG("export_costs", schedule=None) as dag:
        operator = CostsOperator(step=step)
    return operator, {"run_id": RUN_ID, "dag": dag, "params": params.validate()}


@pytest.fixture
def begun(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[ChildJob]:
    """Jobs that were begun; each says that Azure has yet to deliver a day."""
    jobs: list[ChildJob] = []

    def begin(job: ChildJob) -> str:
        jobs.append(job)
        path = step_path("export")
        workspace.lake.replace(path, to_json(StepRecord(step="export", since=DAY, until=DAY, waiting=(DAY,))))
        return path

    monkeypatch.setattr(ChildJob, "run", begin)
    return jobs


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Alert, Alerts]]:
    """Alerts, and who gets them."""
    found: list[tuple[Alert, Alerts]] = []
    monkeypatch.setattr(costs, "tell", lambda alerts, policy, _: found.extend((alert, policy) for alert in alerts))
    return found


def test_a_step_runs_as_a_job_of_its_own(workspace: Workspace) -> None:
    operator, context = task("meter")
    reference = operator.execute(context)
    assert StepRecord.model_validate_json(workspace.lake.read(reference)).step == "meter"


def test_the_job_is_told_the_days_and_the_pages_address_and_given_azures_connections_only_there(
    begun: list[ChildJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_COSTS", '{"conn_type": "azure"}')
    operator, context = task("meter", since="2026-11-01", until="2026-11-20")
    operator.execute(context)
    (job,) = begun
    days = ["--since=2026-11-01", "--until=2026-11-20"]
    assert list(job._arguments) == ["meter", *days, f"--page-url={costs_url()}"]
    assert job._credentials == {}, "the profile local knows no connection to Azure"


def test_the_export_sleeps_until_azure_has_delivered_but_no_longer_than_the_form_says(begun: list[ChildJob]) -> None:
    operator, context = task("export", wait=10)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    assert deferred.value.method_name == "resume"
    until = deferred.value.kwargs["until"]
    assert 0 < until - datetime.now(UTC).timestamp() <= 600
    assert operator.resume(context, until=0) == step_path("export"), "then the run goes on, and is green"
    assert len(begun) == 2, "it looks again before it gives up"


def test_no_other_step_waits_and_no_waiting_is_asked_for(begun: list[ChildJob]) -> None:
    for step, form in (("ingest", {}), ("export", {"wait": 0})):
        operator, context = task(step, **form)
        assert operator.execute(context) == step_path("export")


def test_a_wrong_price_sheet_fails_at_once_and_everyone_hears_of_it(
    workspace: Workspace, told: list[tuple[Alert, Alerts]]
) -> None:
    workspace.settings.costs_file.write_text("currency: dollars\n")
    operator, context = task("report")
    workspace.lake.create("metering/2026-11-01/students/r1/train-1.json", b"{}")
    with pytest.raises(AirflowFailException, match="currency"):
        operator.execute(context)
    FailedCostsNotifier().notify(context)
    ((alert, policy),) = told
    assert alert.happened.startswith("the cost export failed in report: ")
    assert "costs.yaml:1: currency" in alert.happened
    assert policy.emails == ("data-science@example.org",), "whoever hears of any pipeline, as nobody knows better"


def test_where_nobody_gets_the_report_everyone_hears_of_a_night_that_failed(
    workspace: Workspace, told: list[tuple[Alert, Alerts]]
) -> None:
    workspace.settings.costs_file.write_text("currency: USD\nreport: { emails: [] }\n")
    FailedCostsNotifier().notify(task("export")[1])
    assert told[0][1].emails == ("data-science@example.org",)


def test_who_gets_the_report_hears_of_a_night_that_failed(
    workspace: Workspace, told: list[tuple[Alert, Alerts]]
) -> None:
    log = workspace.settings.log_file("noria", safe_run_id(RUN_ID), "costs-export")
    log.parent.mkdir(parents=True)
    log.write_text("INFO asking\nERROR no connection to management.azure.com\n")
    context = task("export")[1]
    FailedCostsNotifier().notify(context)
    ((alert, policy),) = told
    assert alert.happened == "the cost export failed in export: no connection to management.azure.com"
    assert policy.emails == ("finance@example.org",)
    settle_failures(context)
    assert list(workspace.lake.list("outbox/arrived")), "what was told is over"
