"""Asking people: what they are shown, what is kept of their answer, and when nobody is asked."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    ParamValidationError,
    TaskAwaitingInput,
)
from airflow.sdk.execution_time import task_runner

from noria.airflow.approval import ApproveOperator
from noria.airflow.params import retrain_params
from noria.airflow.question import question
from noria.pipeline import ApprovalPolicy, Pipeline, load_spec
from noria.records import NOBODY, Approval, Decision, Report, Run
from noria.settings import CHECKOUT, Settings
from noria.stages.by_hand import approve
from noria.workspace import APPROVAL, Workspace, run_path, safe_run_id
from tests.support import judged
from tests.support.asking import Supervisor, answered
from tests.support.runs import candidate, done

RUN_ID = "manual__2026-01-01T00:00:00+00:00"
WAITING = judged.STATES["waiting"]()


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    # Connections come from the environment in these tests.
    monkeypatch.setenv("AIRFLOW_CONN_NORIA_VERDICTS", '{"conn_type": "generic", "password": "' + "k" * 40 + '"}')
    return supervisor


@pytest.fixture
def pipeline() -> Pipeline:
    spec = load_spec(CHECKOUT / "include" / "pipelines" / "students" / "pipeline.yaml")
    policy = ApprovalPolicy(timeout_hours=36, approvers=("anna",))
    quiet = {"alerts": spec.alerts.model_copy(update={"emails": ()})}
    return spec.model_copy(update={"gate": spec.gate.model_copy(update={"approval": policy}), **quiet})


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supervisor: Supervisor) -> Workspace:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NORIA_UI_URL", "http://127.0.0.1:8080")
    return Workspace.open(Settings.from_env(), {"noria_verdicts": "k" * 40})


@pytest.fixture
def run(workspace: Workspace) -> Run:
    """A run whose candidate waits; its report is written already, which a job would take seconds for."""
    run = workspace.create_run("students", safe_run_id(RUN_ID), overrides={"gate.approval": "{timeout_hours: 36}"})
    done(workspace, run, "train", candidate(run))
    done(workspace, run, "promote", WAITING)
    done(workspace, run, "report", Report(html=run_path("students", run.run_id, "report/report.html")))
    return run


def task(pipeline: Pipeline) -> tuple[ApproveOperator, dict[str, Any]]:
    with DAG("students__retrain", schedule=None, params=retrain_params(pipeline)) as dag:
        operator = ApproveOperator(pipeline=pipeline)
    instance = SimpleNamespace(id=uuid.uuid4())
    return operator, {"run_id": RUN_ID, "dag": dag, "task_instance": instance, "ti": instance, "params": {}}


def test_the_question_shows_the_comparison(
    pipeline: Pipeline, workspace: Workspace, run: Run, supervisor: Supervisor
) -> None:
    operator, context = task(pipeline)
    with pytest.raises(TaskAwaitingInput) as waits:
        operator.execute(context)

    assert timedelta(hours=35, minutes=59) < waits.value.timeout <= timedelta(hours=36)
    (asked,) = supervisor.asked
    assert asked.subject == "May this model become the champion of students in place of version 2?"
    assert (asked.options, asked.defaults) == (["Approve", "Reject"], ["Reject"])
    assert [user.id for user in asked.assigned_users] == ["anna"]
    assert list(asked.params) == ["reason"], "the trigger form's fields are not asked for again"
    body = str(asked.body)
    assert "**Waiting for approval.** The gate says promote, and a person has to agree." in body
    assert "| R² | 0.864 | 0.858 | +0.006 |" in body
    assert "| ✓ | r2 at least 0.8 | 0.864 | 0.8 | r2 0.864 is at least 0.8 |" in body
    assert "| ✗ | latency at most 2 ms \\(advisory\\) |" in body
    assert "| lunch = standard | 192 | 0.861 | 0.849 | +0.012 | 0.05 | ✓ |" in body
    assert "[Report](http://127.0.0.1:8080/noria/dags/students__retrain/runs/manual__2026-01-01T00%3A00" in body


def test_a_run_may_ask_fewer_people_for_a_shorter_time_and_no_others(
    pipeline: Pipeline, workspace: Workspace, supervisor: Supervisor
) -> None:
    stricter = {"gate.approval": "{timeout_hours: 12, approvers: [mallory, anna]}"}
    own = workspace.create_run("students", safe_run_id(RUN_ID), overrides=stricter)
    done(workspace, own, "promote", WAITING)
    done(workspace, own, "report", Report(html=run_path("students", own.run_id, "report/report.html")))
    operator, context = task(pipeline)
    with pytest.raises(TaskAwaitingInput) as waits:
        operator.execute(context)
    assert waits.value.timeout <= timedelta(hours=12)
    assert [user.id for user in supervisor.asked[0].assigned_users] == ["anna"]


def test_a_group_without_a_champion_is_not_said_to_be_too_small(workspace: Workspace, run: Run) -> None:
    first = judged.slices()[0].model_copy(update={"judged": False, "champion": None, "improvement": None})
    decision: Decision = WAITING.model_copy(update={"slices": (first,)})
    assert "not judged: no champion" in question(run, decision, None, [])[1]


def test_the_report_is_there_when_people_are_asked(pipeline: Pipeline, workspace: Workspace, run: Run) -> None:
    workspace.lake.remove(run_path("students", run.run_id, "report"))
    operator, context = task(pipeline)
    with pytest.raises(TaskAwaitingInput):
        operator.execute(context)
    page = workspace.lake.read(workspace.require(run, "report", Report).html).decode()
    assert "Waiting for approval" in page


@pytest.mark.parametrize("state", ["kept_worse", "rejected", "dry_run", "promoted"])
def test_nobody_is_asked_where_nothing_waits(
    pipeline: Pipeline, workspace: Workspace, supervisor: Supervisor, state: str
) -> None:
    done(workspace, workspace.create_run("students", safe_run_id(RUN_ID)), "promote", judged.STATES[state]())
    operator, context = task(pipeline)
    with pytest.raises(AirflowSkipException):
        operator.execute(context)
    assert not supervisor.asked


@pytest.mark.parametrize(("option", "approved"), [("Approve", True), ("Reject", False)])
def test_the_answer_is_kept_signed_with_who_and_why(
    pipeline: Pipeline, workspace: Workspace, run: Run, option: str, approved: bool
) -> None:
    operator, context = task(pipeline)
    reference = operator.execute_complete(context, answered(option))

    assert reference == run_path("students", run.run_id, APPROVAL)
    said = workspace.approval(run)
    assert said is not None
    assert (said.approved, said.by, said.reason) == (approved, "anna", "the groups look right")
    assert said.previous_champion == WAITING.previous_champion


def test_no_answer_in_time_is_a_no(pipeline: Pipeline, workspace: Workspace, run: Run) -> None:
    operator, context = task(pipeline)
    operator.execute_complete(context, answered("Reject", reason=None, timed_out=True))
    said = workspace.approval(run)
    assert said is not None
    assert (said.approved, said.by, said.reason) == (False, NOBODY, "no answer within 36 hours")


@pytest.mark.parametrize("reason", [None, "", "  \n "])
def test_a_yes_without_a_reason_is_asked_again(
    pipeline: Pipeline, workspace: Workspace, run: Run, reason: str | None
) -> None:
    operator, context = task(pipeline)
    with pytest.raises(AirflowException, match="without a reason") as caught:
        operator.execute_complete(context, answered("Approve", reason=reason))
    assert not isinstance(caught.value, AirflowFailException), "Airflow tries the task again"
    assert workspace.approval(run) is None


def test_a_no_needs_no_reason(pipeline: Pipeline, workspace: Workspace, run: Run) -> None:
    operator, context = task(pipeline)
    operator.execute_complete(context, answered("Reject", reason=None))
    said = workspace.approval(run)
    assert said is not None
    assert (said.approved, said.reason) == (False, "no reason given")


def test_a_reason_of_any_length_is_refused(pipeline: Pipeline, workspace: Workspace, run: Run) -> None:
    operator, context = task(pipeline)
    with pytest.raises(ParamValidationError, match="too long"):
        operator.execute_complete(context, answered("Approve", reason="x" * 2000))


def test_what_was_answered_elsewhere_is_not_asked_again(
    pipeline: Pipeline, workspace: Workspace, run: Run, supervisor: Supervisor
) -> None:
    operator, context = task(pipeline)
    reference = operator.execute_complete(context, answered("Approve"))
    again, context = task(pipeline)
    assert again.execute(context) == reference
    assert not supervisor.asked


def test_the_first_answer_stands(pipeline: Pipeline, workspace: Workspace, run: Run) -> None:
    """Somebody has declined on the command line while the question stood in the UI."""
    approve(run, workspace, approved=False, by="berta", reason="not now")
    operator, context = task(pipeline)
    operator.execute_complete(context, answered("Approve"))
    said = workspace.approval(run)
    assert said is not None
    assert (said.approved, said.by) == (False, "berta")


def test_a_question_that_is_put_again_ends_no_later(
    pipeline: Pipeline, workspace: Workspace, run: Run, supervisor: Supervisor
) -> None:
    short = ApprovalPolicy(timeout_hours=1e-6)
    hasty = pipeline.model_copy(update={"gate": pipeline.gate.model_copy(update={"approval": short})})
    operator, context = task(hasty)
    operator.execute(context)
    assert not supervisor.asked
    said = workspace.approval(run)
    assert said is not None
    assert (said.approved, said.by) == (False, NOBODY)


def test_where_everyone_may_answer_the_record_has_the_users_name(
    pipeline: Pipeline, workspace: Workspace, run: Run
) -> None:
    anyone = pipeline.model_copy(update={"gate": pipeline.gate.model_copy(update={"approval": ApprovalPolicy()})})
    operator, context = task(anyone)
    operator.execute_complete(context, answered("Approve"))
    said = workspace.approval(run)
    assert said is not None
    assert said.by == "Anna B."


def test_an_approval_that_was_forged_fails_the_task(pipeline: Pipeline, workspace: Workspace, run: Run) -> None:
    operator, context = task(pipeline)
    path = operator.execute_complete(context, answered("Reject"))
    said = Approval.model_validate_json(workspace.lake.read(path))
    workspace.lake.replace(path, said.model_copy(update={"approved": True}).model_dump_json().encode())
    again, context = task(pipeline)
    with pytest.raises(AirflowFailException, match="not what was signed"):
        again.execute(context)
    failure = workspace.failure(run)
    assert failure is not None
    assert failure.stage == "release", "a mail says why"
    assert "not what was signed" in workspace.settings.log_file("students", run.run_id, "release").read_text()


def test_a_text_from_the_data_stays_text(run: Run) -> None:
    strange = judged.slices()[0].model_copy(update={"value": "a|b\n# <img src=x> [x](http://x) `c` {{ 1 }}"})
    decision: Decision = WAITING.model_copy(update={"slices": (strange,)})
    _subject, body = question(run, decision, None, [])
    (row,) = [line for line in body.splitlines() if line.startswith("| lunch")]
    assert row.startswith(r"| lunch = a\|b \# \<img src=x\> \[x\]\(http://x\) \`c\` \{\{ 1 \}\} | 192 |")
