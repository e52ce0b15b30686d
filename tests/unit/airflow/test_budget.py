"""The budget as the first task: what is told, asked and stopped, and that no job has run by then."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException, TaskAwaitingInput
from airflow.sdk.execution_time import task_runner

from noria.airflow import budget
from noria.airflow.budget import BudgetOperator, has_bounds
from noria.airflow.operators import StageOperator
from noria.airflow.params import retrain_params
from noria.alerts.failures import failure_alert
from noria.costs.budgets import find_judgement
from noria.pipeline import Pipeline, load_pipeline
from noria.records import NOBODY
from noria.settings import CHECKOUT, Settings
from noria.workspace import Workspace, run_path, safe_run_id
from tests.support.asking import Supervisor, answered
from tests.support.spending import SHEET, past

RUN_ID = "manual__2026-01-01T00:00:00+00:00"
RUN = safe_run_id(RUN_ID)
SPEC = CHECKOUT / "include" / "pipelines" / "students" / "pipeline.yaml"


class World:
    """A pipeline with a budget of its own, three past runs of ten euros, and Airflow's side of its first task."""

    def __init__(self, tmp_path: Path, supervisor: Supervisor) -> None:
        self.folder, self.asked = tmp_path / "pipelines" / "pupils", supervisor.asked
        self.folder.mkdir(parents=True)
        self.workspace = Workspace.open(Settings.from_env())

    def allow(self, budget: str) -> World:
        text = SPEC.read_text().replace("name: students", "name: pupils", 1)
        (self.folder / "pipeline.yaml").write_text(f"{text}\nbudget: {budget}\n")
        return self

    @property
    def pipeline(self) -> Pipeline:
        return load_pipeline("pupils", self.workspace.settings.pipelines)

    def spend(self, *costs: float) -> None:
        for cost in costs:
            past(self.workspace, cost, pipeline="pupils")

    def task(self, **params: object) -> tuple[BudgetOperator, dict[str, Any]]:
        with DAG("pupils__retrain", schedule=None, params=retrain_params(self.pipeline)) as dag:
            operator = BudgetOperator(pipeline=self.pipeline)
        instance = SimpleNamespace(id=uuid.uuid4())
        form = {**dag.params.dump(), "reason": None, **params}
        return operator, {"run_id": RUN_ID, "dag": dag, "task_instance": instance, "ti": instance, "params": form}

    def execute(self, **params: object) -> str:
        operator, context = self.task(**params)
        return str(operator.execute(context))

    def report(self) -> None:
        """What the report's task does after it."""
        _operator, context = self.task()
        with context["dag"]:
            StageOperator(stage="report", pipeline="pupils").execute(context)

    @property
    def left(self) -> set[str]:
        """Files that the run has left, apart from those of metering."""
        folder = run_path("pupils", RUN, "")
        return {path.removeprefix(f"{folder}/") for path in self.workspace.lake.list(folder)}

    @property
    def metered(self) -> list[str]:
        return [path for path in self.workspace.lake.list("metering") if RUN in path]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    supervisor = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    (tmp_path / "costs.yaml").write_text(SHEET)
    for name, value in {
        "NORIA_HOME": tmp_path / "home",
        "NORIA_COSTS": tmp_path / "costs.yaml",
        "NORIA_PIPELINES": tmp_path / "pipelines",
        "NORIA_UI_URL": "http://127.0.0.1:8080",
        "AIRFLOW_CONN_NORIA_VERDICTS": '{"conn_type": "generic", "password": "' + "k" * 40 + '"}',
        "AIRFLOW_CONN_SMTP_DEFAULT": '{"conn_type": "smtp", "host": "127.0.0.1", "port": 9, "extra": '
        '{"disable_ssl": true, "disable_tls": true, "timeout": 1, "retry_limit": 1}}',
    }.items():
        monkeypatch.setenv(name, str(value))
    return World(tmp_path, supervisor)


def test_within_its_budget_a_run_goes_on(world: World) -> None:
    world.allow("{per_run: 15, when_exceeded: stop}").spend(10, 10, 10)
    assert world.execute(seed=7) == run_path("pupils", RUN, "budget")
    run = world.workspace.load_run("pupils", RUN)
    assert run.pipeline.seed == 7, "the first task takes the form"
    assert world.left == {"run.json", "budget.json"}
    assert list(world.workspace.lake.list("outbox")) == []


def test_a_run_that_breaks_its_budget_is_stopped_before_its_first_job(world: World) -> None:
    world.allow("{per_day: 35, when_exceeded: stop}").spend(10, 10, 10)
    with pytest.raises(AirflowFailException) as stopped:
        world.execute()
    said = str(stopped.value)
    for part in (
        "will cost about 10.00 EUR (10.00 EUR to 10.00 EUR in 8 of 10 cases)",
        "budget.per_day of pupils is 35.00 EUR: 30.00 EUR of it are spent",
        "would cost 40.00 EUR with this run, 5.00 EUR more",
        "Raise the bound",
    ):
        assert part in said
    with pytest.raises(AirflowSkipException, match="stopped before its first job"):
        world.report()
    assert world.left == {"run.json", "budget.json", "budget.failed.json"}
    assert world.metered == []

    run = world.workspace.load_run("pupils", RUN)
    alert = failure_alert("pupils", RUN, run, world.workspace, [])
    assert alert.kind == "budget" and "stopped before its first job: the run breaks its budget" in alert.subject
    assert any("5.00 EUR more" in detail for detail in alert.details)

    world.allow("{per_day: 50, when_exceeded: stop}")
    with pytest.raises(AirflowFailException):
        world.execute()  # the run has frozen the lower bound
    world.workspace.settings.costs_file.write_text(SHEET.replace("hour: 1", "hour: 0.5"))
    assert world.execute(), "there is room by now, and the task is cleared"
    assert world.left == {"run.json", "budget.json"}


def test_a_run_cannot_loosen_its_budget(world: World) -> None:
    world.allow("{per_run: 9, when_exceeded: stop}").spend(10, 10, 10)
    with pytest.raises(AirflowFailException, match=r"budget\.per_run of pupils is 9\.00 EUR"):
        world.execute(overrides={"budget.per_run": 100, "budget.when_exceeded": "warn"})


def test_a_warning_is_a_mail_and_no_more(world: World) -> None:
    world.allow("{per_run: 9}").spend(10, 10, 10)
    assert world.execute(), "the mail server cannot be reached"
    (letter,) = world.workspace.lake.list("outbox/waiting")
    assert "a run goes on that breaks a budget" in world.workspace.lake.read(letter).decode()


def test_people_are_asked_and_a_yes_lets_it_through(world: World) -> None:
    world.allow("{per_run: 9, when_exceeded: approve, approvers: [anna], timeout_hours: 36}").spend(10, 10, 10)
    operator, context = world.task()
    with pytest.raises(TaskAwaitingInput) as waits:
        operator.execute(context)
    assert timedelta(hours=35, minutes=59) < waits.value.timeout <= timedelta(hours=36)
    (asked,) = world.asked
    assert asked.subject == "May this run of pupils break its budget?"
    assert [user.id for user in asked.assigned_users] == ["anna"]
    assert "No job of it has run" in str(asked.body) and r"budget.per\_run of pupils is 9.00 EUR" in str(asked.body)

    reference = operator.execute_complete(context, answered("Approve", reason="the fair is tomorrow"))
    assert reference == run_path("pupils", RUN, "budget")
    judgement = find_judgement(world.workspace.load_run("pupils", RUN), world.workspace)
    assert judgement is not None and judgement.answer is not None
    assert (judgement.answer.approved, judgement.answer.by) == (True, "anna")
    assert judgement.answer.reason == "the fair is tomorrow"
    assert world.execute() == reference, "a task that is cleared asks nobody again"
    assert len(world.asked) == 1


def test_the_budget_of_everything_asks_whom_it_names(world: World) -> None:
    total = "total: {per_day: 35, when_exceeded: approve, approvers: [berta], timeout_hours: 2}\n"
    world.workspace.settings.costs_file.write_text(SHEET + total)
    world.allow("{per_run: 90, when_exceeded: stop, approvers: [anna]}").spend(10, 10, 10)
    operator, context = world.task()
    with pytest.raises(TaskAwaitingInput) as waits:
        operator.execute(context)
    assert waits.value.timeout <= timedelta(hours=2)
    (asked,) = world.asked
    assert [user.id for user in asked.assigned_users] == ["berta"]
    assert "total.per\\_day of the price sheet is 35.00 EUR" in str(asked.body)
    assert operator.execute_complete(context, answered("Approve", reason="the fair is tomorrow"))


def test_a_no_ends_the_run_and_so_does_silence(world: World) -> None:
    world.allow("{per_run: 9, when_exceeded: approve, timeout_hours: 36}").spend(10, 10, 10)
    operator, context = world.task()
    with pytest.raises(TaskAwaitingInput):
        operator.execute(context)
    with pytest.raises(AirflowException, match="without a reason"):
        operator.execute_complete(context, answered("Approve", reason=None))
    with pytest.raises(AirflowFailException, match=r"Declined by Anna B\.: too dear"):
        operator.execute_complete(context, answered("Reject", reason="too dear"))
    with pytest.raises(TaskAwaitingInput):
        operator.execute(context)
    with pytest.raises(AirflowFailException, match=f"Declined by {NOBODY}: no answer within 36 hours"):
        operator.execute_complete(context, answered("Reject", reason=None, timed_out=True))
    assert world.left == {"run.json", "budget.json", "budget.failed.json"}
    assert world.metered == []


def test_a_yes_to_less_ends_the_run_which_is_asked_about_again(world: World) -> None:
    world.allow("{per_day: 35, when_exceeded: approve}").spend(10, 10, 10)
    operator, context = world.task()
    with pytest.raises(TaskAwaitingInput):
        operator.execute(context)
    world.spend(10)
    more = r"Approved by Anna B\.: the fair, but more would be exceeded by now"
    with pytest.raises(AirflowFailException, match=more):
        operator.execute_complete(context, answered("Approve", reason="the fair"))
    with pytest.raises(TaskAwaitingInput):
        world.execute()
    assert "5.00 EUR more" in str(world.asked[0].body) and "15.00 EUR more" in str(world.asked[1].body)
    assert operator.execute_complete(context, answered("Approve", reason="the fair"))


def test_a_question_of_another_day_is_not_put_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [datetime(2026, 3, 31, 20, tzinfo=UTC)]
    opened = budget.stage_workspace
    monkeypatch.setattr(budget, "stage_workspace", lambda *args: replace(opened(*args), clock=lambda: clock[0]))
    world.workspace = replace(world.workspace, clock=lambda: clock[0])
    world.allow("{per_month: 35, when_exceeded: approve, timeout_hours: 9}").spend(10, 10, 10)
    for _ in "ab":
        with pytest.raises(TaskAwaitingInput):
            world.execute()
    assert len({str(question.body) for question in world.asked}) == 1, "on the same day it is the same one"
    clock[0] += timedelta(hours=10)
    assert world.execute(), "the month is over, and so is the time to answer for it"


def test_the_time_to_answer_begins_once(world: World) -> None:
    world.allow("{per_run: 9, when_exceeded: approve, timeout_hours: 1.0e-6}").spend(10, 10, 10)
    with pytest.raises(AirflowFailException, match="no answer within 1e-06 hours"):
        world.execute()
    assert world.asked == []


def test_a_run_that_cannot_be_created_says_why_where_its_mail_looks(world: World) -> None:
    world.allow("{per_run: 9}")
    with pytest.raises(AirflowFailException, match="unknown"):
        world.execute(overrides={"tuning.trails": 3})
    alert = failure_alert("pupils", RUN, None, world.workspace, [])
    assert "tuning.trails" in alert.subject


@pytest.mark.parametrize(
    ("budget", "sheet", "expected"),
    [
        ("{per_day: 3}", SHEET, True),
        ("{when_exceeded: stop}", SHEET, False),
        ("{}", f"{SHEET}total: {{ per_month: 9 }}\n", True),
        ("{}", "currency: 3\n", False),
    ],
)
def test_whether_there_is_a_bound(world: World, tmp_path: Path, budget: str, sheet: str, expected: bool) -> None:
    (tmp_path / "costs.yaml").write_text(sheet)
    assert has_bounds(world.allow(budget).pipeline) == expected
