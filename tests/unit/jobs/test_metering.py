"""What jobs say that they used, beside what the operating system says to their parent."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from noria.airflow.remote_stages import TrainOnAzureML
from noria.compute.ending import ended_by_sigterm
from noria.compute.meter import available_cores
from noria.compute.remote import JobUse
from noria.costs.usage import keep_usage, usage_of
from noria.errors import JobError
from noria.jobs.metering import Metering, keep_untold
from noria.jobs.runner import run_stage
from noria.records import JobUsage, Report, Run, Usage
from noria.settings import Settings
from noria.workspace import Workspace

BURN = "import time; end = time.process_time() + {}\nwhile time.process_time() < end: pass"
STAGE = """
import sys
from noria.jobs.runner import main
from noria.records import Report

def work(run, workspace):
    {}
    return Report(html="x.html")

main("report", work)
"""
SHAPES = {
    "busy": "exec({burn!r})",
    "tree": (
        "import subprocess; "
        "[subprocess.run([sys.executable, '-c', {burn!r}], check=True) for _ in range(3)]; "
        "subprocess.run(['sh', '-c', 'for i in 1 2 3 4 5 6 7 8; do sh -c :; done'], check=True)"
    ),
    "grandchild": (  # as a launcher keeps a JVM: a shell that waits for it, and a parent that waits for the shell
        "import subprocess; "
        "command = sys.executable + ' -c \"exec(bytes.fromhex(\\'{code}\\'))\"; true'; "
        "subprocess.Popen(['sh', '-c', command]).wait()"
    ),
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"PATH": os.environ["PATH"]}, home=tmp_path / "home")


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace.open(settings)


@pytest.fixture
def run(workspace: Workspace) -> Run:
    return workspace.create_run("students", "r1")


def accounts(workspace: Workspace) -> list[JobUsage]:
    return [job for _path, job in usage_of(workspace.clock().date(), workspace.lake)]


def run_and_wait(command: list[str], run: Run, settings: Settings) -> float:
    """Run a job; its CPU seconds as the operating system tells its parent."""
    process = subprocess.Popen(
        [sys.executable, *command, "--pipeline", "students", "--run-id", run.run_id],
        env=settings.child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    _pid, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.stdout is not None
    assert "record" in json.loads(process.stdout.read())
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("shape", SHAPES)
def test_cpu_is_what_the_operating_system_tells_the_parent(
    shape: str, settings: Settings, workspace: Workspace, run: Run
) -> None:
    burn = BURN.format(0.3)
    code = STAGE.format(SHAPES[shape].format(burn=burn, code=burn.encode().hex()))
    told = run_and_wait(["-c", code], run, settings)
    (job,) = accounts(workspace)
    assert (job.outcome, job.stage, job.usage.machine) == ("done", "report", "local")
    assert job.usage.cpu_seconds == pytest.approx(told, rel=0.05)
    assert 0 < job.usage.memory_byte_seconds <= job.usage.peak_rss_bytes * job.usage.wall_seconds
    envelope = workspace.stage_run(run, "report")
    assert envelope is not None
    assert envelope.usage == job.usage


def test_the_shortest_job_that_there_is(settings: Settings, workspace: Workspace, run: Run) -> None:
    began = time.monotonic()
    told = run_and_wait(["-m", "noria.jobs.ingest"], run, settings)
    outside = time.monotonic() - began
    (job,) = accounts(workspace)
    assert 0.5 * outside < job.usage.wall_seconds < outside + 0.02, "a clock tick is 0.01 s"
    assert job.usage.vcpu_seconds == pytest.approx(job.usage.wall_seconds * available_cores(), abs=0.01)
    assert job.usage.cpu_seconds == pytest.approx(told, rel=0.05)
    assert job.usage.write_requests >= 4, "raw bytes, table and their manifests"
    assert job.usage.requests > job.usage.write_requests
    assert job.usage.stored_bytes > 50_000


def test_a_failed_attempt_is_accounted_for_too(workspace: Workspace, run: Run) -> None:
    def fails(_run: Run, workspace: Workspace) -> Report:
        workspace.lake.create("x.json", b"12345")
        raise JobError("no")

    with pytest.raises(JobError):
        run_stage("report", fails, run, workspace)
    run_stage("report", lambda _r, _w: Report(html="x.html"), run, workspace)
    failed, done = accounts(workspace)
    assert (failed.outcome, done.outcome) == ("failed", "done")
    assert (failed.usage.stored_bytes, failed.usage.write_requests) == (5, 1)
    assert done.usage.cpu_seconds < 1, "what this process did before is none of the stage's use"


def test_a_stage_is_done_where_its_use_cannot_be_kept(
    workspace: Workspace, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.lake.create("metering", b"a file where the folder should be")
    path = run_stage("report", lambda _r, _w: Report(html="x.html"), run, workspace)
    assert workspace.lake.exists(path)
    assert "what report used could not be kept" in caplog.text


def test_what_jobs_elsewhere_used_belongs_to_the_stage(workspace: Workspace, run: Run) -> None:
    ended = datetime.now(UTC)
    batch = Usage(wall_seconds=60, cpu_seconds=0, peak_rss_bytes=0, vcpu_seconds=720, machine="synapse")
    use = JobUse(ended - timedelta(seconds=60), ended, batch)
    with_batch = replace(workspace, elsewhere=[use.of(run, "explore", "done")])
    run_stage("explore", lambda _r, _w: Report(html="x.html"), run, with_batch)
    envelope = workspace.stage_run(run, "explore")
    assert envelope is not None
    own, elsewhere = sorted(accounts(workspace), key=lambda job: job.usage.machine)
    assert (own.usage.machine, elsewhere.usage) == ("local", batch)
    assert envelope.usage.machine == "synapse"
    assert envelope.usage.vcpu_seconds == pytest.approx(720 + own.usage.vcpu_seconds)
    assert envelope.usage.wall_seconds >= 60


def test_a_node_of_several_accounts_for_itself_and_the_stage_for_all(workspace: Workspace, run: Run) -> None:
    node = {"WORLD_SIZE": "3", "NODE_RANK": "1", "MASTER_ADDR": "127.0.0.1"}
    spread = replace(workspace, settings=Settings.from_env(node, home=workspace.settings.home))
    with Metering("train", "students", "r1", spread) as stage:
        pass
    assert not accounts(workspace)
    assert stage.usage.vcpu_seconds == pytest.approx(3 * available_cores() * stage.usage.wall_seconds, abs=0.01)
    with Metering("train", "students", "r1", spread, is_node=True) as metering:
        metering.has_failed = True
    (job,) = accounts(workspace)
    assert job.outcome == "failed"
    assert job.usage.vcpu_seconds == pytest.approx(available_cores() * job.usage.wall_seconds, abs=0.01)


def test_a_job_that_the_platform_ends_says_what_it_used_until_then(workspace: Workspace, run: Run) -> None:
    with pytest.raises(SystemExit), ended_by_sigterm(), Metering("search-ridge", "students", "r1", workspace):
        os.kill(os.getpid(), signal.SIGTERM)
    assert [job.outcome for job in accounts(workspace)] == ["killed"]


@pytest.fixture
def died() -> JobUse:
    """What a job is said to have used that began a moment ago."""
    ended = datetime.now(UTC) + timedelta(seconds=1)
    usage = Usage(wall_seconds=2, cpu_seconds=1, peak_rss_bytes=1, vcpu_seconds=6)
    return JobUse(ended - timedelta(seconds=2), ended, usage)


def _fails(_run: Run, _workspace: Workspace) -> Report:
    raise JobError("no")


def test_a_job_that_died_is_accounted_for_by_its_parent_once(workspace: Workspace, run: Run, died: JobUse) -> None:
    keep_untold(died, run, "report", workspace.lake)
    keep_untold(died, run, "report", workspace.lake)
    assert [(job.outcome, job.usage) for job in accounts(workspace)] == [("killed", died.usage)]


@pytest.mark.parametrize("work", [_fails, lambda _r, _w: Report(html="x.html")], ids=["failed", "done"])
def test_a_job_that_was_killed_before_its_answer_has_told_itself(
    work: Callable[[Run, Workspace], Report], workspace: Workspace, run: Run, died: JobUse
) -> None:
    with contextlib.suppress(JobError):
        run_stage("report", work, run, workspace)
    keep_untold(died, run, "report", workspace.lake)
    (told,) = accounts(workspace)
    assert told.outcome != "killed"
    keep_untold(died, run, "train", workspace.lake)
    assert [job.stage for job in accounts(workspace) if job.outcome == "killed"] == ["train"], "another stage's"


def test_what_an_earlier_attempt_told_stands_for_no_other(workspace: Workspace, run: Run, died: JobUse) -> None:
    """Nor does a record: it may be that attempt's."""
    run_stage("report", lambda _r, _w: Report(html="x.html"), run, workspace)
    later = replace(died, started_at=died.finished_at, finished_at=died.finished_at + timedelta(seconds=2))
    keep_untold(later, run, "report", workspace.lake)
    assert [job.outcome for job in accounts(workspace)] == ["done", "killed"]


def test_a_job_over_midnight_is_known_by_an_account_of_either_day(workspace: Workspace, run: Run, died: JobUse) -> None:
    began = replace(died, started_at=died.finished_at - timedelta(days=1), finished_at=died.finished_at)
    keep_usage(began.of(run, "report", "failed").model_copy(update={"finished_at": began.started_at}), workspace.lake)
    keep_untold(began, run, "report", workspace.lake)
    assert not accounts(workspace)


def test_whoever_cannot_look_keeps_the_account_and_goes_on(
    workspace: Workspace, run: Run, died: JobUse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as away:
        away.setattr(type(workspace.lake), "sizes", lambda *_: iter((1 / 0,)))
        keep_untold(died, run, "report", workspace.lake)
    assert "whether report has told what it used is not known" in caplog.text
    assert [job.outcome for job in accounts(workspace)] == ["killed"]
    workspace.lake.remove("metering")
    workspace.lake.create("metering", b"a file where the folder should be")
    keep_untold(died, run, "report", workspace.lake)


@pytest.mark.parametrize(("nodes", "rest"), [(2, []), (3, [2.0]), (6, [4.0])])
def test_of_several_nodes_those_that_were_killed_are_accounted_for(
    nodes: int, rest: list[float], workspace: Workspace, run: Run, died: JobUse
) -> None:
    """A training that ran out of memory leaves no failure, but the nodes around it have told theirs."""
    for _node in range(2):
        with Metering("train", "students", "r1", workspace, is_node=True) as metering:
            metering.has_failed = True
    TrainOnAzureML().account(run, workspace, replace(died, nodes=nodes))
    assert [job.usage.vcpu_seconds for job in accounts(workspace) if job.outcome == "killed"] == rest
