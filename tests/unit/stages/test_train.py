"""The train stage on real Dask clusters of worker processes."""

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from noria.compute.dask_cluster import dask_workers
from noria.compute.meter import available_cores
from noria.errors import JobError, SpecError
from noria.models.examples import load_split
from noria.models.store import load_model
from noria.models.workers import NOT_BEGUN
from noria.pipeline import load_pipeline
from noria.records import Candidate, Run
from noria.settings import CHECKOUT, Settings
from noria.stages.ingest import ingest
from noria.stages.train import train
from noria.workspace import Workspace
from tests.support.reference import reference
from tests.support.runs import done

QUICK = {
    "tuning.trials": "8",
    "estimators": "[{kind: linear}, {kind: ridge}, {kind: xgboost, params: {n_estimators: 30}}]",
    "evaluation.seeds": "2",
    "tuning.workers": "1",
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(Settings.from_env(home=tmp_path / "home"))


def start(workspace: Workspace, source: str = "sample://students?rows=400", **overrides: str) -> Run:
    changes = {**QUICK, **{k.replace("__", "."): v for k, v in overrides.items()}}
    run = workspace.create_run("students", source=source, overrides=changes)
    done(workspace, run, "ingest", ingest(run, workspace))
    return run


def comparable(candidate: Candidate) -> Candidate:
    """A candidate without what two equal runs may differ in: names, durations, the state of the checkout."""
    contenders = tuple(c.model_copy(update={"seconds": 0.0}) for c in candidate.contenders)
    places = dict.fromkeys(("model", "training_rows", "cluster", "code", "search_seconds"), "")
    return candidate.model_copy(update={**places, "contenders": contenders})


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    """What one worker that nobody disturbs proposes."""
    workspace = Workspace.open(Settings.from_env(home=tmp_path_factory.mktemp("one")))
    return train(start(workspace), workspace)


@pytest.mark.slow
def test_one_worker_and_two_agree_to_the_last_digit(workspace: Workspace, one: Candidate) -> None:
    """And a cap that is not reached changes nothing."""
    two = train(start(workspace, tuning__workers="2", tuning__max_vcpu_seconds="1000000"), workspace)
    assert comparable(one) == comparable(two)
    assert one.model_sha256 == two.model_sha256 and "2 local processes" in two.cluster
    assert list((workspace.settings.home / "tmp").iterdir()) == []
    with workspace.lake.local(two.model) as file:
        assert load_model(file, two.model_sha256) is not None
    seen = workspace.lake.read(two.training_rows)
    assert hashlib.sha256(seen).hexdigest() == two.training_rows_sha256
    (path,) = (p for p in workspace.lake.list("typed") if p.endswith(".parquet"))
    with workspace.lake.local(path) as table:
        split = load_split(table, load_pipeline("students", workspace.settings.pipelines))
    hashes = [seen[i : i + 16] for i in range(0, len(seen), 16)]
    assert hashes == sorted(hashes) and set(hashes) == {bytes(h) for h in split.train.hashes}


@pytest.mark.slow
def test_a_killed_worker_is_replaced(workspace: Workspace, one: Candidate, caplog: pytest.LogCaptureFixture) -> None:
    """The only worker dies in the middle of the search, with the data that it held."""
    caplog.set_level(logging.INFO, logger="noria")
    killed: list[int] = []
    others = set(psutil.Process().children(recursive=True))  # of other tests: a Spark that a fixture keeps, say

    def kill() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and "of 8 trials" not in caplog.text:
            time.sleep(0.01)
        for process in set(psutil.Process().children(recursive=True)) - others:
            if "resource_tracker" not in " ".join(process.cmdline()):
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)

    thread = threading.Thread(target=kill)
    run = start(workspace)
    thread.start()
    candidate = train(run, workspace)
    thread.join()
    assert killed and candidate.trials == 8
    assert comparable(candidate) == comparable(one)


@pytest.mark.slow
def test_an_existing_scheduler_is_used_and_a_cap_ends_the_search(workspace: Workspace) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        address = cluster.scheduler_address
        settings = workspace.settings.replace(dask_address=address)
        elsewhere = Workspace(settings, workspace.lake)
        candidate = train(start(elsewhere, tuning__max_vcpu_seconds="0.001"), elsewhere)
        assert f"1 workers at {address}" in candidate.cluster
        assert (candidate.trials, candidate.stopped_by) == (1, "cap")
        with dask_workers(1, workspace.settings.home, address) as workers:
            assert workers.cores == available_cores()
            begun = workers.map(wait, workers.share(1), [0.3] * 3, until=time.monotonic() + 0.1)
        assert begun == [None, NOT_BEGUN, NOT_BEGUN], "a job is handed out when a worker is free for it"


@pytest.mark.slow
def test_linear_on_the_real_file_is_as_good_as_published(workspace: Workspace) -> None:
    path = reference("students_performance_kaggle.csv")
    candidate = train(start(workspace, str(path), evaluation__seeds="5"), workspace)
    linear = next(c for c in candidate.contenders if c.name == "linear")
    assert linear.cv["r2"].mean == pytest.approx(0.866, abs=0.02)
    assert candidate.metrics["r2"] > 0.84
    assert candidate.metrics["rse"] == pytest.approx(1 - candidate.metrics["r2"])


def test_a_wrong_hyper_parameter_stops_before_a_cluster_starts(workspace: Workspace) -> None:
    run = start(workspace, estimators="[{kind: xgboost, params: {max_dept: 3}}]")
    before = psutil.Process().children(recursive=True)
    with pytest.raises(SpecError, match=r"estimators\.0\.params\.max_dept"):
        train(run, workspace)
    assert psutil.Process().children(recursive=True) == before


def wait(_shared: object, seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.slow
def test_a_lost_scheduler_is_no_fault_of_a_trial(tmp_path: Path) -> None:
    """It is killed while a job runs; the error says that trying again may help."""
    commands = (["scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", "s.json"],
                ["worker", "--scheduler-file", "s.json", "--nthreads", "1", "--no-nanny"])  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{name}", *arguments, "--no-dashboard"],
            cwd=tmp_path, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        for name, *arguments in commands
    ]  # fmt: skip
    try:
        while not (tmp_path / "s.json").exists():
            time.sleep(0.05)
        address = json.loads((tmp_path / "s.json").read_text())["address"]
        with dask_workers(1, tmp_path, address) as workers:
            shared = workers.share(1)
            threading.Timer(0.5, processes[0].kill).start()
            with pytest.raises(JobError, match="connection to the Dask scheduler was lost") as caught:
                workers.map(wait, shared, [60.0])
        assert caught.value.retryable
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_no_scheduler_answers(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noria.compute.dask_cluster._CONNECT_SECONDS", 1)
    elsewhere = Workspace(workspace.settings.replace(dask_address="tcp://127.0.0.1:9"), workspace.lake)
    with pytest.raises(JobError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        train(start(elsewhere), elsewhere)
