"""Stages as tasks, with real jobs: what is retried, what is not, and what is left behind."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from airflow.sdk import DAG, BaseHook
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRuntimeError,
    AirflowSkipException,
    AirflowTaskTimeout,
    ErrorType,
)
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.sdk.execution_time.context import OutletEventAccessors

from noria.airflow.assets import model_asset, snapshot_asset
from noria.airflow.operators import SparkStageOperator, StageOperator
from noria.airflow.params import retrain_params
from noria.costs.usage import usage_of
from noria.errors import JobError, SourceUnavailableError
from noria.pipeline import SampleSource, load_spec
from noria.settings import CHECKOUT, Settings
from noria.sources import open_source
from noria.workspace import Workspace, run_path, safe_run_id
from tests.support.busy import busy_until
from tests.support.github import github
from tests.support.http_server import Slow, Status, serve
from tests.support.runs import decision, done

SPARK = "org.apache.spark.deploy.SparkSubmit"
RUN_ID = "manual__2026-01-01T00:00:00+00:00"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NORIA_UI_URL", "http://127.0.0.1:8080")
    return Workspace.open(Settings.from_env())


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def task(stage: str, kind: type[StageOperator] = StageOperator, **options: Any) -> tuple[StageOperator, DAG]:
    pipeline = load_spec(CHECKOUT / "include" / "pipelines" / "students" / "pipeline.yaml")
    with DAG("students__retrain", schedule=None, params=retrain_params(pipeline)) as dag:
        return kind(stage=stage, pipeline="students", **options), dag


def context(dag: DAG, **values: object) -> dict[str, Any]:
    params = {**dag.params.dump(), **values}
    return {"run_id": RUN_ID, "dag": dag, "params": params, "outlet_events": OutletEventAccessors()}


def job_of(stage: str) -> psutil.Process:
    """The job that this process has as a child, once it has begun its work."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for child in psutil.Process().children():
            if f"noria.jobs.{stage}" in _command(child):
                return child
        time.sleep(0.01)
    raise AssertionError(f"no {stage} job came up")


def test_ingest_creates_the_run_and_tells_the_snapshot(workspace: Workspace) -> None:
    asset = snapshot_asset("students")
    operator, dag = task("ingest", outlets=[asset])
    ctx = context(dag, source="sample://students?rows=50&seed=1", seed=5)

    reference = operator.execute(ctx)

    assert reference == run_path("students", safe_run_id(RUN_ID), "ingest")
    run = workspace.load_run("students", safe_run_id(RUN_ID))
    assert (run.pipeline.seed, run.pipeline.source.uri) == (5, "sample://students?rows=50&seed=1")
    assert run.ui_url is not None
    assert run.ui_url.startswith("http://127.0.0.1:8080/dags/students__retrain/runs/manual__2026-01-01T00%3A00")
    facts = ctx["outlet_events"][asset].extra
    assert facts["rows"] == 50
    assert len(facts["sha256"]) == 64
    assert facts["snapshot_id"]
    assert "rows" in workspace.settings.log_file("students", run.run_id, "ingest").read_text()


def test_what_trying_again_cannot_mend_is_not_tried_again(workspace: Workspace) -> None:
    operator, dag = task("ingest")
    with pytest.raises(AirflowFailException, match=r"no file /no/such/file\.csv"):
        operator.execute(context(dag, source="file:///no/such/file.csv"))


def test_a_run_that_cannot_begin_leaves_the_reason_in_the_log(workspace: Workspace) -> None:
    operator, dag = task("ingest")
    with pytest.raises(AirflowFailException, match="unknown trails"):
        operator.execute(context(dag, trails=3))
    log = workspace.settings.log_file("students", safe_run_id(RUN_ID), "ingest")
    assert log.read_text().startswith("ERROR trigger form: unknown trails")


def test_a_bad_override_ends_the_run_at_once(workspace: Workspace) -> None:
    operator, dag = task("ingest")
    with pytest.raises(AirflowFailException, match=r"tuning\.folds: .*got 1"):
        operator.execute(context(dag, overrides={"tuning.folds": 1}))
    assert not list(workspace.lake.list("runs"))


def test_an_error_that_nobody_foresaw_is_not_tried_again(workspace: Workspace) -> None:
    workspace.lake.create(run_path("students", safe_run_id(RUN_ID), "run"), b"half of it {")
    operator, dag = task("validate")
    with pytest.raises(AirflowFailException, match="ValidationError: 1 validation error for Run"):
        operator.execute(context(dag))
    log = workspace.settings.log_file("students", safe_run_id(RUN_ID), "validate")
    assert log.read_text().startswith("ERROR ValidationError")


def test_trouble_of_airflow_itself_is_tried_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_conn_id: str) -> None:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.GENERIC_ERROR, detail={"message": "away"}))

    monkeypatch.setattr(BaseHook, "get_connection", away)
    operator, dag = task("ingest")
    with pytest.raises(AirflowRuntimeError):
        operator.execute(context(dag, source="github://someone/courses/x.csv@main"))


def test_a_log_that_cannot_be_written_hides_no_error(workspace: Workspace) -> None:
    (workspace.settings.home / "logs").parent.mkdir(parents=True)
    (workspace.settings.home / "logs").write_text("a file where a folder should be")
    operator, dag = task("validate")
    with pytest.raises(AirflowFailException, match="no run"):
        operator.execute(context(dag))


def test_a_source_that_is_away_is_tried_again(workspace: Workspace) -> None:
    with serve() as server:
        url = server.put("/pupils.csv", b"", *[Status(503)] * 50)
        operator, dag = task("ingest")
        with pytest.raises(SourceUnavailableError, match="503"):
            operator.execute(context(dag, source=url))


def test_the_token_of_the_connection_reaches_the_job_and_no_log(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "ghp_0123456789"
    folder = tmp_path / "github" / "school" / "data"
    folder.mkdir(parents=True)
    source = open_source(SampleSource(rows=50), workspace.settings)
    source.fetch(folder / "pupils.csv")
    with github(tmp_path / "github", token=secret) as hub:
        monkeypatch.setenv("NORIA_GITHUB_RAW_URL", hub.url)
        monkeypatch.setenv("NORIA_GITHUB_API_URL", hub.url)
        monkeypatch.setenv("AIRFLOW_CONN_GITHUB_DEFAULT", json.dumps({"conn_type": "http", "password": secret}))
        operator, dag = task("ingest")
        operator.execute(context(dag, source="github://school/data/pupils.csv@main"))

    assert {header for _path, header in hub.requests} == {f"Bearer {secret}"}
    kept = [file for file in workspace.settings.home.rglob("*") if file.is_file()]
    assert kept
    assert not [file for file in kept if secret.encode() in file.read_bytes()]


def test_a_killed_job_may_be_tried_again_and_its_end_is_kept(workspace: Workspace) -> None:
    with serve() as server:
        url = server.put("/pupils.csv", b"", Slow(60))
        operator, dag = task("ingest")
        threading.Thread(target=lambda: os.kill(job_of("ingest").pid, signal.SIGKILL)).start()
        with pytest.raises(JobError, match="killed by signal 9"):
            operator.execute(context(dag, source=url))
    failure = json.loads(workspace.lake.read(run_path("students", safe_run_id(RUN_ID), "ingest.failed.json")))
    assert failure["retryable"] is True
    assert "killed by signal 9" in failure["message"]


def test_stopping_the_task_ends_the_job(workspace: Workspace) -> None:
    with serve() as server:
        url = server.put("/pupils.csv", b"", Slow(60))
        operator, dag = task("ingest")
        jobs: list[psutil.Process] = []

        def stop() -> None:
            jobs.append(job_of("ingest"))
            operator.on_kill()

        threading.Thread(target=stop).start()
        with pytest.raises(JobError):
            operator.execute(context(dag, source=url))
    assert not jobs[0].is_running()


def test_what_a_job_used_until_its_time_was_up_is_kept(workspace: Workspace, tmp_path: Path) -> None:
    workspace.create_run("students", safe_run_id(RUN_ID))
    operator, dag = task("validate")
    with pytest.raises(AirflowTaskTimeout), busy_until(AirflowTaskTimeout, tmp_path, 0.3):
        operator.execute(context(dag))
    ((_path, job),) = usage_of(workspace.clock().date(), workspace.lake)
    assert (job.stage, job.outcome) == ("validate", "killed")


@pytest.mark.parametrize("connection", ["", '{"conn_type": "spark", "host": "local[1]"}'])
def test_stopping_explore_ends_spark(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, connection: str) -> None:
    if connection:
        monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", connection)
    ingest, dag = task("ingest")
    ingest.execute(context(dag, source="sample://students?rows=50&seed=1"))
    operator, dag = task("explore", kind=SparkStageOperator)
    others = set(psutil.Process().children(recursive=True))
    seen: list[psutil.Process] = []

    def stop() -> None:
        deadline = time.monotonic() + 60
        while not seen and time.monotonic() < deadline:
            children = set(psutil.Process().children(recursive=True)) - others
            seen.extend(p for p in children if SPARK in _command(p))
            time.sleep(0.05)
        operator.on_kill()

    threading.Thread(target=stop).start()
    with pytest.raises(JobError):
        operator.execute(context(dag))
    assert seen
    _gone, alive = psutil.wait_procs(seen, timeout=10)
    assert not alive


def test_a_retry_of_a_run_that_exists_keeps_its_spec(workspace: Workspace) -> None:
    operator, dag = task("ingest")
    source = "sample://students?rows=40&seed=1"
    first = operator.execute(context(dag, source=source))
    again, dag = task("ingest")
    assert again.execute(context(dag, source=source, seed=9)) == first
    assert workspace.load_run("students", safe_run_id(RUN_ID)).pipeline.seed == 42


def test_a_later_stage_needs_the_run(workspace: Workspace) -> None:
    operator, dag = task("validate")
    with pytest.raises(AirflowFailException, match="no run"):
        operator.execute(context(dag))


def test_there_is_nothing_to_report_of_a_run_that_could_not_begin(workspace: Workspace) -> None:
    operator, dag = task("report")
    with pytest.raises(AirflowSkipException):
        operator.execute(context(dag))


@pytest.mark.parametrize(
    ("verdict", "changes", "announced"),
    [
        ("promote", {}, True),
        ("promote", {"dry_run": True}, False),
        ("promote", {"registered_version": "2"}, False),  # a retry that came too late
        ("keep", {}, False),
        ("reject", {}, False),
    ],
)
def test_only_a_promotion_is_an_event_of_the_model(
    workspace: Workspace, verdict: Any, changes: dict[str, Any], announced: bool
) -> None:
    run = workspace.create_run("students", safe_run_id(RUN_ID))
    done(workspace, run, "promote", decision(verdict, **changes))
    asset = model_asset("students")
    operator, dag = task("promote", outlets=[asset])
    ctx = context(dag)

    operator.execute(ctx)

    assert operator.outlets == ([asset] if announced else [])
    if announced:
        facts = ctx["outlet_events"][asset].extra
        assert (facts["version"], facts["verdict"], facts["metrics"]) == (
            "3",
            "promote",
            decision("promote").candidate_metrics,
        )
