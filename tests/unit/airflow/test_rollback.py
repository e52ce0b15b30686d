"""Going back by a form: what the job is asked, and what is made of its answer; with real jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError
from airflow.sdk.execution_time.context import OutletEventAccessors

from noria.airflow.assets import model_asset
from noria.airflow.params import rollback_params
from noria.airflow.rollback import UNKNOWN, RollbackOperator
from noria.compute.process import ChildJob
from noria.records import Rollback
from noria.settings import Settings
from noria.stages.rollback import rollback_path
from noria.workspace import Workspace, safe_run_id, to_json

RUN_ID = "manual__2026-01-01T00:00:00+00:00"
ASSET = model_asset("students")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path / "home"))
    return Workspace.open(Settings.from_env())


def task(user: str | None = "anna", **form: Any) -> tuple[RollbackOperator, dict[str, Any]]:
    params = ParamsDict(rollback_params())
    for name, value in form.items():
        params[name] = value
    with DAG("students__rollback", schedule=None) as dag:
        operator = RollbackOperator(pipeline="students", outlets=[ASSET])
    return operator, {
        "run_id": RUN_ID,
        "dag": dag,
        "dag_run": SimpleNamespace(triggering_user_name=user),
        "params": params.validate(),
        "outlet_events": OutletEventAccessors(),
    }


def record(**changes: Any) -> Rollback:
    values = {
        "pipeline": "students", "version": "1", "before": "2", "by": "anna", "reason": "wrong since Monday",
        "at": datetime(2026, 1, 1, tzinfo=UTC), "verdict_id": "f" * 32, "run_id": "r", "metrics": {"r2": 0.861},
        "champion_version": "1",
    }  # fmt: skip
    return Rollback.model_validate({**values, **changes})


def test_a_rollback_that_cannot_be_fails_at_once_and_says_why(workspace: Workspace) -> None:
    operator, context = task(reason="wrong since Monday")
    with pytest.raises(AirflowFailException, match="students has no champion, so there is nothing to go back from"):
        operator.execute(context)
    log = workspace.settings.log_file("students", safe_run_id(RUN_ID), "rollback")
    assert log.read_text().splitlines()[-1].startswith("ERROR students has no champion"), "where the mail takes it from"


def test_a_retry_takes_what_was_done_and_the_event_says_it(workspace: Workspace) -> None:
    path = rollback_path("students", safe_run_id(RUN_ID))
    workspace.lake.create(path, to_json(record()))
    operator, context = task(reason="wrong since Monday")
    assert operator.execute(context) == path
    assert context["outlet_events"][ASSET].extra == {
        "version": "1",
        "verdict": "rollback",
        "metrics": {"r2": 0.861},
        "previous_version": "2",
    }


def test_one_that_a_newer_champion_has_overtaken_is_no_event(workspace: Workspace) -> None:
    late = record(champion_version="3")
    workspace.lake.create(rollback_path("students", safe_run_id(RUN_ID)), to_json(late))
    operator, context = task(reason="wrong since Monday")
    operator.execute(context)
    assert operator.outlets == []


@pytest.mark.parametrize(
    ("user", "form", "asked"),
    [
        ("anna", {"version": " 7 ", "reason": "--to 3, not 2"}, ["--by=anna", "--reason=--to 3, not 2", "--to=7"]),
        (None, {"reason": "wrong"}, [f"--by={UNKNOWN}", "--reason=wrong"]),
    ],
)
def test_the_job_is_told_who_asks_why_and_for_what_and_is_given_the_key(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, user: str | None, form: dict[str, str], asked: list[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_NORIA_VERDICTS", '{"conn_type": "generic", "password": "' + "k" * 40 + '"}')
    begun: list[ChildJob] = []

    def begin(job: ChildJob) -> str:
        begun.append(job)
        path = rollback_path("students", "x")
        workspace.lake.create(path, to_json(record()))
        return path

    monkeypatch.setattr(ChildJob, "run", begin)
    operator, context = task(user, **form)
    operator.execute(context)
    (job,) = begun
    assert list(job._arguments) == ["--pipeline=students", f"--key={safe_run_id(RUN_ID)}", *asked]
    assert job._credentials == {"noria_verdicts": "k" * 40}


@pytest.mark.parametrize("form", [{}, {"reason": ""}, {"reason": "x" * 2000}, {"reason": "wrong", "version": "v2"}])
def test_the_form_asks_for_a_reason_and_takes_a_version(form: dict[str, Any]) -> None:
    with pytest.raises(ParamValidationError):
        task(**form)
