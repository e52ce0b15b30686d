"""What mails say of runs that ended badly, or wait: which are the same cause, and which are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from noria.alerts import Alert
from noria.alerts.failures import failure_alert
from noria.costs.budgets import BoundKey, keep_judgement
from noria.errors import BudgetError, ExitCode, NoriaError, SpecError
from noria.jobs.runner import keep_failure
from noria.records import BEFORE_STAGES, STAGES, Run
from noria.settings import Settings
from noria.stages.validate import VALIDATION_FILE
from noria.workspace import Workspace, run_path, to_json
from tests.support.runs import failed, judgement, validation

TEAM = ("team@example.org",)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr("noria.lake.disk._sync", lambda _path: None)
    return Workspace.open(Settings.from_env({}, home=tmp_path))


def stopped(run_id: str, workspace: Workspace, key: BoundKey = "per_day", by: str = "") -> Alert:
    """The alert of a run that breaks a bound, stopped by it or by a person."""
    run = workspace.create_run("students", run_id)
    judged = judgement("approve" if by else "stop", key, by)
    keep_judgement(judged, run, workspace)
    return ended(run, judged.refusal(), workspace)


def ended(run: Run, error: NoriaError, workspace: Workspace) -> Alert:
    keep_failure(BEFORE_STAGES, error, run, workspace)
    return failure_alert("students", run.run_id, run, workspace, [])


def test_stops_by_the_same_bound_are_one_cause_and_others_are_not(workspace: Workspace) -> None:
    nine, again = stopped("r1", workspace), stopped("r2", workspace)
    assert nine.kind == "budget" and "the run breaks its budget" in nine.happened
    assert nine.key(TEAM) == again.key(TEAM)
    others = [
        stopped("r3", workspace, "per_month"),
        stopped("r4", workspace, by="anna"),
        stopped("r5", workspace, by="anna"),
    ]
    assert len({alert.key(TEAM) for alert in (nine, *others)}) == 4, "each answer is news"


def test_trouble_before_the_first_job_is_no_news_of_a_budget(workspace: Workspace) -> None:
    run = workspace.create_run("students", "r1")
    log = workspace.settings.log_file("students", "r1", STAGES[0])
    log.parent.mkdir(parents=True)
    log.write_text("ERROR costs.yaml:1: currency.\n")
    alert = ended(run, SpecError("costs.yaml:1: currency"), workspace)
    assert (alert.kind, alert.happened) == ("failed run", "the run failed in budget: costs.yaml:1: currency.")
    assert alert.log == ("ERROR costs.yaml:1: currency.",)
    assert ended(run, BudgetError("the run breaks its budget"), workspace).kind == "budget", "without a judgement too"


def test_data_that_is_invalid_in_other_columns_is_another_cause(workspace: Workspace) -> None:
    def invalid(run_id: str, column: str, observed: str) -> Alert:
        run = workspace.create_run("students", run_id)
        report = validation(run, workspace)
        result = report.results[0].model_copy(update={"column": column, "observed": observed})
        changed = report.model_copy(update={"results": (result,)})
        workspace.lake.replace(run_path("students", run_id, VALIDATION_FILE), to_json(changed))
        failed(workspace, run, "validate", "1 of 2 expectations failed", exit_code=ExitCode.INVALID_DATA)
        return failure_alert("students", run_id, run, workspace, [])

    one, again, other = invalid("r1", "G1", "12"), invalid("r2", "G1", "11"), invalid("r3", "G2", "12")
    assert one.kind == "failed validation" and one.rows[0][1] == "G1"
    assert one.key(TEAM) == again.key(TEAM) != other.key(TEAM)
