import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from noria.compute.process import JobProcess, _cpu_seconds_of_session
from noria.errors import JobError, SourceError
from noria.records import Run
from noria.settings import Settings
from noria.workspace import Workspace

ENDLESS = "sample://students?rows=100000000"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"PATH": os.environ["PATH"]}, home=tmp_path / "home")


def create(settings: Settings, source: str) -> Run:
    return Workspace.open(settings).create_run("students", "r1", source=source)


def jobs_of(run_id: str, home: Path) -> list[psutil.Process]:
    """Processes of this run's jobs."""
    found = []
    for process in psutil.process_iter():
        try:
            if run_id in process.cmdline() and process.environ().get("NORIA_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until(condition: Callable[[], object], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_the_answer_is_the_record_and_the_log_is_kept(settings: Settings, tmp_path: Path) -> None:
    run = create(settings, "sample://students?rows=50")
    lines: list[str] = []
    reference = JobProcess(
        "ingest", run, settings, log_file=tmp_path / "logs" / "ingest.log", on_line=lines.append
    ).run()
    assert reference == "runs/students/r1/ingest.json"
    assert (settings.home / "lake" / reference).is_file()
    assert (tmp_path / "logs" / "ingest.log").read_text().splitlines() == lines


def test_a_log_that_cannot_be_taken_does_not_stop_the_job(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = create(settings, "sample://students?rows=50")
    monkeypatch.setenv("PYTHONVERBOSE", "1")  # hundreds of kilobytes on standard error
    talkative = Settings.from_env(os.environ, home=settings.home)
    lines: list[str] = []

    def refuse(line: str) -> None:
        lines.append(line)
        raise ValueError("no more")

    job = JobProcess("ingest", run, talkative, log_file=Path("/dev/full"), on_line=refuse)
    assert job.run() == "runs/students/r1/ingest.json"
    assert len(lines) == 1
    warnings = [record.getMessage() for record in caplog.records if record.name == "noria.compute.process"]
    assert sorted(w.partition("complete: ")[2] for w in warnings) == ["[Errno 28] No space left on device", "no more"]


def test_an_error_of_the_job_is_raised_here_as_it_was_there(settings: Settings) -> None:
    run = create(settings, "file:///nowhere/at/all.csv")
    with pytest.raises(SourceError, match=r"/nowhere/at/all\.csv"):
        JobProcess("ingest", run, settings).run()


def test_a_killed_job_is_an_error_that_may_be_retried(settings: Settings) -> None:
    run = create(settings, ENDLESS)
    job = JobProcess("ingest", run, settings)
    before: list[float] = []

    def kill() -> None:
        assert wait_until(lambda: jobs_of("r1", settings.home))
        process = jobs_of("r1", settings.home)[0]
        process.suspend()
        before.append(sum(process.cpu_times()[:2]))
        process.send_signal(signal.SIGKILL)

    threading.Thread(target=kill).start()
    with pytest.raises(JobError, match="killed by signal 9") as caught:
        job.run()
    assert caught.value.retryable
    assert job.died is not None
    assert job.died.usage.cpu_seconds == pytest.approx(before[0], abs=0.05)  # a suspended process does nothing more
    assert 0 < job.died.usage.wall_seconds < 20
    assert job.died.usage.peak_rss_bytes > 1_000_000
    assert not list((settings.home / "lake").rglob("manifest.json"))


def test_a_job_that_is_killed_before_it_has_begun_does_not_run(settings: Settings) -> None:
    job = JobProcess("ingest", create(settings, "sample://students?rows=50"), settings)
    job.kill()
    with pytest.raises(JobError, match="killed by signal 15"):
        job.run()


def test_what_a_dead_job_has_left_behind_is_counted() -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass\nprint('done', flush=True); time.sleep(60)"
    leader = subprocess.Popen(
        ["sh", "-c", f'{sys.executable} -c "{burn}" & wait'], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert leader.stdout is not None and leader.stdout.readline() == b"done\n"
        leader.kill()
        leader.wait()
        assert 0.15 < _cpu_seconds_of_session(leader.pid) < 1
    finally:
        os.killpg(leader.pid, signal.SIGKILL)


def test_a_job_dies_with_its_parent(settings: Settings) -> None:
    create(settings, ENDLESS)
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from noria.settings import Settings; from noria.workspace import Workspace\n"
            "from noria.compute.process import JobProcess, _cpu_seconds_of_session\n"
            "s = Settings.from_env(); run = Workspace.open(s).load_run('students', 'r1')\n"
            "JobProcess('ingest', run, s).run()",
        ],
        env=settings.child_environment(),
    )
    try:
        assert wait_until(lambda: jobs_of("r1", settings.home))
    finally:
        parent.kill()
        parent.wait()
    assert wait_until(lambda: not jobs_of("r1", settings.home), seconds=5)


def test_credentials_are_seen_in_no_argument_and_no_environment(settings: Settings) -> None:
    run = create(settings, ENDLESS)
    job = JobProcess("ingest", run, settings, credentials={"github_default": "s3cret-token"})

    def run_until_killed() -> None:
        with contextlib.suppress(JobError):
            job.run()

    thread = threading.Thread(target=run_until_killed)
    thread.start()
    assert wait_until(lambda: jobs_of("r1", settings.home))
    seen = [str(p.cmdline()) + str(p.environ()) for p in jobs_of("r1", settings.home)]
    job.kill()
    thread.join()
    assert seen
    assert "s3cret" not in "".join(seen)
