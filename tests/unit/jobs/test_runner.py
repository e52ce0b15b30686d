from pathlib import Path

import pytest

from noria.compute.process import JobProcess
from noria.costs.usage import usage_of
from noria.errors import DataInvalidError, JobError
from noria.jobs.runner import keep_failure, run_job, run_stage
from noria.records import Report, Run
from noria.settings import Settings
from noria.workspace import Workspace, run_path
from tests.support.busy import busy_until


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(Settings.from_env({}, home=tmp_path))


@pytest.fixture
def run(workspace: Workspace) -> Run:
    return workspace.create_run("students", "r1")


def test_a_stage_is_done_once(workspace: Workspace, run: Run) -> None:
    calls: list[str] = []

    def report(run: Run, _workspace: Workspace) -> Report:
        calls.append(run.run_id)
        return Report(html="x.html")

    first = run_stage("report", report, run, workspace)
    assert run_stage("report", report, run, workspace) == first
    assert calls == ["r1"]
    envelope = workspace.stage_run(run, "report")
    assert envelope is not None
    assert envelope.usage.peak_rss_bytes > 0
    assert envelope.finished_at >= envelope.started_at
    assert workspace.require(run, "report", Report) == Report(html="x.html")


def test_a_failure_is_kept_until_a_retry_succeeds(workspace: Workspace, run: Run) -> None:
    def fails(_run: Run, _workspace: Workspace) -> Report:
        raise DataInvalidError("3 of 4 rows do not fit", expected="at most 5 %")

    with pytest.raises(DataInvalidError):
        run_stage("report", fails, run, workspace)
    failure = workspace.failure(run)
    assert failure is not None
    assert (failure.stage, failure.exit_code, failure.retryable) == ("report", 4, False)
    assert "3 of 4 rows" in failure.message
    assert not workspace.lake.exists(run_path("students", "r1", "report"))

    run_stage("report", lambda _r, _w: Report(html="x.html"), run, workspace)
    assert workspace.failure(run) is None


def test_a_job_that_was_killed_after_its_record_has_not_failed(workspace: Workspace, run: Run) -> None:
    def report(_run: Run, _workspace: Workspace) -> Report:
        return Report(html="x.html")

    run_stage("report", report, run, workspace)
    keep_failure("report", JobError("killed by signal 9"), run, workspace)
    assert workspace.failure(run) is None
    run_stage("report", report, run, workspace)
    assert not workspace.lake.exists(run_path("students", "r1", "report.failed.json"))


def test_no_secret_of_an_error_is_kept(workspace: Workspace, run: Run) -> None:
    keep_failure("report", OSError("no answer of postgresql://bob:hunter2@db/x"), run, workspace)
    failure = workspace.failure(run)
    assert failure is not None
    assert failure.message == "no answer of postgresql://***@db/x"


def test_an_unexpected_error_is_kept_as_well(workspace: Workspace, run: Run) -> None:
    def breaks(_run: Run, _workspace: Workspace) -> Report:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError):
        run_stage("report", breaks, run, workspace)
    failure = workspace.failure(run)
    assert failure is not None
    assert failure.error == "ZeroDivisionError"
    assert not failure.retryable


class TimeIsUp(BaseException):
    """As Airflow's own, which it raises out of whatever the task is doing."""


@pytest.mark.parametrize("error", [TimeIsUp, KeyboardInterrupt, SystemExit])
def test_what_a_job_used_until_it_was_cut_off_is_kept(
    error: type[BaseException], workspace: Workspace, run: Run, tmp_path: Path
) -> None:
    with pytest.raises(error), busy_until(error, tmp_path):
        run_job("report", JobProcess("report", run, workspace.settings), run, workspace)
    ((_path, job),) = usage_of(workspace.clock().date(), workspace.lake)
    assert (job.outcome, job.stage) == ("killed", "report")
    assert 0.1 < job.usage.wall_seconds < 3
    assert 0 < job.usage.cpu_seconds <= job.usage.wall_seconds
    assert workspace.failure(run) is None, "the caller says what its limit means"
