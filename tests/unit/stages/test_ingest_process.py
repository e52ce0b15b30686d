"""Ingest as its own process: killed at any moment, two at once, the exit codes, little memory."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from noria.compute.process import JobProcess
from noria.errors import ExitCode
from noria.pipeline import SampleSource
from noria.records import Snapshot
from noria.settings import Settings
from noria.sources import open_source
from noria.workspace import Workspace
from tests.support.http_server import serve

ROWS = 150_000


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(Settings.from_env(dict(os.environ), home=tmp_path / "home"))


def spawn(workspace: Workspace, run_id: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "noria.jobs.ingest", "--pipeline", "students", "--run-id", run_id],
        env=workspace.settings.child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def manifests(workspace: Workspace, layer: str) -> list[str]:
    return [p for p in workspace.lake.list(layer) if p.endswith("manifest.json")]


def wait_for(condition: object, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition() and process.poll() is None and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.005)


def test_killed_at_any_moment_a_retry_leaves_one_whole_snapshot(workspace: Workspace, tmp_path: Path) -> None:
    source = tmp_path / "pupils.csv"
    open_source(SampleSource(rows=ROWS), workspace.settings).fetch(source)
    run = workspace.create_run("students", "r1", source=str(source))
    home, rng = workspace.settings.home, random.Random(11)
    moments = {
        "fetching": lambda: list(home.glob("tmp/*/data.csv")),
        "typing": lambda: list(home.glob("tmp/*/table.parquet")),
        "raw is stored": lambda: list(home.glob("lake/raw/**/data.csv")),
        "raw is published": lambda: manifests(workspace, "raw"),
        "table is stored": lambda: list(home.glob("lake/typed/**/table.parquet")),
    }
    killed = 0
    for moment in moments.values():
        process = spawn(workspace, run.run_id)
        wait_for(moment, process)
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        for path in manifests(workspace, "typed"):
            Snapshot.model_validate_json(workspace.lake.read(path))
    assert killed >= 3
    JobProcess("ingest", run, workspace.settings).run()
    snapshot = workspace.require(run, "ingest", Snapshot)
    assert snapshot.rows == ROWS
    assert manifests(workspace, "typed") == [f"typed/students/{snapshot.snapshot_id}/manifest.json"]
    assert manifests(workspace, "raw") == [f"raw/students/{snapshot.sha256}/manifest.json"]
    assert workspace.lake.read(snapshot.raw) == source.read_bytes()
    assert not [f for f in (home / "tmp").iterdir() if f.is_dir()]
    undisturbed = Workspace.open(Settings.from_env({}, home=tmp_path / "other"))
    other = undisturbed.create_run("students", "r1", source=str(source))
    JobProcess("ingest", other, undisturbed.settings).run()
    assert undisturbed.lake.read(snapshot.table) == workspace.lake.read(snapshot.table)


def test_two_at_once_share_one_snapshot(workspace: Workspace) -> None:
    for run_id in ("r1", "r2"):
        workspace.create_run("students", run_id, source=f"sample://students?rows={ROWS}")
    processes = [spawn(workspace, run_id) for run_id in ("r1", "r2")]
    for process in processes:
        _, log = process.communicate(timeout=120)
        assert process.returncode == ExitCode.OK, log
    snapshots = [
        workspace.require(workspace.load_run("students", run_id), "ingest", Snapshot) for run_id in ("r1", "r2")
    ]
    assert snapshots[0].snapshot_id == snapshots[1].snapshot_id
    assert len(manifests(workspace, "typed")) == len(manifests(workspace, "raw")) == 1
    assert {s.rows for s in snapshots} == {ROWS}


@pytest.mark.parametrize(
    ("content", "code", "error"),
    [
        pytest.param(None, ExitCode.BAD_INPUT, "SourceNotFoundError", id="404"),
        pytest.param(b"<html>Sign in</html>", ExitCode.BAD_INPUT, "SourceError", id="web page"),
        pytest.param(b"", ExitCode.BAD_INPUT, "SourceError", id="empty"),
        pytest.param(b"gender,lunch\nfemale,standard\n", ExitCode.BAD_INPUT, "SourceError", id="missing columns"),
        pytest.param(b"misfits", ExitCode.INVALID_DATA, "DataInvalidError", id="too many misfits"),
    ],
)
def test_exit_codes(workspace: Workspace, tmp_path: Path, content: bytes | None, code: ExitCode, error: str) -> None:
    if content == b"misfits":
        open_source(SampleSource(rows=100), workspace.settings).fetch(tmp_path / "x.csv")
        content = (tmp_path / "x.csv").read_bytes().replace(b"standard", b"luxury")
    with serve() as server:
        url = server.put("/x.csv", content) if content is not None else server.url + "/none.csv?db_pwd=hunter2"
        workspace.create_run("students", "r1", source=url)
        process = spawn(workspace, "r1")
        answer, log = process.communicate(timeout=60)
    assert process.returncode == code, log
    assert json.loads(answer)["error"] == error
    assert "Traceback" not in log
    failure = workspace.failure(workspace.load_run("students", "r1"))
    assert failure is not None
    assert (failure.exit_code, failure.retryable) == (code, False)
    for told in (answer, log, failure.message):
        assert content is not None or "db_pwd=***" in told


def test_memory_does_not_grow_with_the_file(workspace: Workspace) -> None:
    peaks = []
    for rows in (15_000, 1_500_000):
        run = workspace.create_run("students", source=f"sample://students?rows={rows}")
        JobProcess("ingest", run, workspace.settings).run()
        envelope = workspace.stage_run(run, "ingest")
        assert envelope is not None
        peaks.append(envelope.usage.peak_rss_bytes)
    assert peaks[1] < 400e6
    assert peaks[1] - peaks[0] < 150e6
