"""`make run` on the real stack: the first model, the pages, the mail, real data from GitHub, and every way to end."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from noria.launcher.processes import find
from noria.mailbox import inbox
from noria.records import ChampionVersion, Snapshot
from noria.settings import Settings
from noria.workspace import Workspace, safe_run_id
from tests.support.github import Github, github
from tests.support.launcher import MAKE_RUN, Launcher, launcher
from tests.support.proposals import untrained
from tests.support.reference import write_students

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SMALL = "trials=4 tuning.folds=2 evaluation.seeds=2"
SOURCE = "github://someone/courses/data/StudentsPerformance.csv@main"
MISSING = "file:///no/such/folder/missing.csv"
SERVER_ALONE = """
import sys
from noria.cli import main
from noria.launcher.component import COMPONENTS

for name in COMPONENTS.keys() - {"api-server"}:
    del COMPONENTS[name]
sys.exit(main())
"""
"""`noria` whose launcher starts nothing but Airflow's API server."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Github]:
    """GitHub with the real file."""
    root = tmp_path_factory.mktemp("github")
    write_students(root / "someone" / "courses" / "data" / "StudentsPerformance.csv")
    with github(root) as server:
        yield server


@pytest.fixture(scope="module")
def once(home: Path, stand_in: Github) -> Iterator[Launcher]:
    """A launcher that has ended with its run, the first of this home, whose training was killed at its first try."""
    endpoints = {"NORIA_GITHUB_RAW_URL": stand_in.url, "NORIA_GITHUB_API_URL": stand_in.url}
    with launcher(home, command=MAKE_RUN, SET=SMALL, SOURCE=SOURCE, ONCE="1", **endpoints) as started:
        started.wait_for(r"▸ train +running", seconds=400)
        _kill_job(started, "noria.jobs.train")
        started.wait(500)
        yield started


@pytest.fixture(scope="module")
def run_id(once: Launcher) -> str:
    return once.wait_for(r"run (\S+) of students__retrain")[1]


@pytest.fixture(scope="module")
def up(home: Path, once: Launcher) -> Iterator[Launcher]:
    """A launcher whose run has ended, badly, and whose UI is up."""
    with launcher(home, command=MAKE_RUN, SOURCE=MISSING) as started:
        started.wait_for(r"Ctrl-C ends everything", seconds=500)
        yield started


@pytest.fixture(scope="module")
def url(up: Launcher) -> str:
    return up.wait_for(r"Airflow is up after \d+ s: (http://127\.0\.0\.1:\d+)")[1]


def _versions(home: Path) -> list[ChampionVersion]:
    return Workspace.open(Settings.from_env({}, home=home)).registry.history("students")


def test_first_model_is_promoted_and_its_report_stands(once: Launcher, home: Path, run_id: str) -> None:
    assert once.process.returncode == 0, once.output
    assert once.gone_within(5), once.tree()
    assert "the run ended as success" in once.output
    assert once.wait_for(r"\n(\w+): .*\nreport: ")[1] == "promote"
    assert Path(once.wait_for(r"report: (\S+)")[1]).is_file()
    (version,) = _versions(home)
    assert (version.version, version.is_champion, version.run_id) == ("1", True, safe_run_id(run_id))


def test_progress_names_every_stage_and_the_second_try_of_the_one_that_was_killed(once: Launcher) -> None:
    ended = [line.split()[3] for line in once.output.splitlines() if " ✓ " in line]
    assert ended == ["ingest", "validate", "explore", "train", "promote", "report"]
    assert re.search(r"▸ train +running \(try 2\)", once.output)


def test_snapshot_is_the_real_file_from_github(once: Launcher, stand_in: Github, home: Path, run_id: str) -> None:
    workspace = Workspace.open(Settings.from_env({}, home=home))
    snapshot = workspace.require(workspace.load_run("students", safe_run_id(run_id)), "ingest", Snapshot)
    commit = stand_in.commit("someone", "courses")
    assert (snapshot.source, snapshot.commit, snapshot.rows) == (SOURCE, commit, 1000)


def test_values_that_were_set_are_those_of_the_run(once: Launcher, home: Path, run_id: str) -> None:
    spec = Workspace.open(Settings.from_env({}, home=home)).load_run("students", safe_run_id(run_id)).pipeline
    assert (spec.tuning.trials, spec.tuning.folds, spec.evaluation.seeds) == (4, 2, 2)


def test_new_champion_is_in_the_inbox(once: Launcher, home: Path) -> None:
    (mail,) = inbox.read(home)
    assert "students" in mail.subject
    assert "new champion" in mail.subject
    assert mail.path.stat().st_mode & 0o077 == 0


def test_failed_run_is_told_by_words_and_mail(up: Launcher, home: Path) -> None:
    assert "ingest failed" in up.output
    assert "missing.csv" in up.output
    deadline = time.monotonic() + 30
    while len(mails := inbox.read(home)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    (mail,) = mails[1:]
    assert "failed" in mail.subject
    assert "missing.csv" in mail.text


def test_report_is_shown_to_the_one_who_logged_in_and_to_nobody_else(up: Launcher, url: str, run_id: str) -> None:
    page = f"{url}/noria/dags/students__retrain/runs/{run_id}/report"
    assert httpx.get(page, follow_redirects=True).status_code in (401, 403)
    assert httpx.post(f"{url}/auth/token", json={"username": "admin", "password": "wrong"}).status_code == 401
    shown = httpx.get(page, headers=_log_in(up, url), follow_redirects=True)
    assert shown.status_code == 200
    assert "students" in shown.text
    assert "promote" in shown.text.lower()


def test_nothing_listens_beyond_loopback(up: Launcher) -> None:
    listening = {}
    for process in up.tree():
        with contextlib.suppress(psutil.NoSuchProcess):  # tasks come and go
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    listening[connection.laddr.port] = connection.laddr.ip
    assert len(listening) >= 2, "the UI and the mail sink"
    assert set(listening.values()) == {"127.0.0.1"}


def test_files_with_secrets_are_for_their_owner_only(up: Launcher, home: Path) -> None:
    for name in ("airflow/credentials.json", "airflow/passwords.json", "launcher.json"):
        assert (home / name).stat().st_mode & 0o077 == 0, name
    arguments = "\n".join(" ".join(p.cmdline()) for p in up.tree())
    assert up.wait_for(r"with the password ([^\s;]+)")[1] not in arguments


def test_second_launcher_says_where_the_first_one_is(up: Launcher, home: Path, url: str) -> None:
    with launcher(home) as second:
        assert second.wait(60) == 1
        assert url in second.output
        assert re.search(r"\(process (\d+)\)", second.output)[1] in {str(process.pid) for process in up.tree()}
    assert httpx.get(f"{url}/api/v2/monitor/health").status_code == 200


def test_ctrl_c_in_the_middle_of_training_leaves_no_process_behind_and_tells_how_the_first_run_ended(
    up: Launcher, home: Path, url: str
) -> None:
    search = {"tuning.trials": "5000", "tuning.folds": "2"}
    workspace = Workspace.open(Settings.from_env({}, home=home))
    run = untrained(workspace, "students", "long", **{"source.rows": "200"}, **search)
    headers = _log_in(up, url)
    body = {"dag_run_id": run.run_id, "logical_date": None}
    begun = httpx.post(f"{url}/api/v2/dags/students__retrain/dagRuns", json=body, headers=headers)
    assert begun.status_code == 200, begun.text
    deadline = time.monotonic() + 120
    while len(workers := [p for p in up.tree() if _is_worker(p)]) < 2:
        assert time.monotonic() < deadline, "no workers came up"
        time.sleep(0.3)
    up.stop(signal.SIGINT, group=True)
    assert re.search(r"make(\[\d+\])?: .*\[.*run\] Error 2", up.output), "the exit code of bad input"
    assert up.gone_within(5), up.tree()
    assert not any(worker.is_running() for worker in workers)
    assert not [p for p in psutil.process_iter() if _home_of(p) == str(home)]
    assert not (home / "launcher.json").exists()


@pytest.mark.parametrize("pause", [0.0, 2.0])
def test_sigterm_while_the_database_is_prepared_leaves_no_process_behind(tmp_path: Path, pause: float) -> None:
    _end_while("preparing", pause, tmp_path)


@pytest.mark.parametrize("pause", [0.0, 0.03])
def test_sigterm_while_airflow_starts_leaves_no_process_behind(home: Path, up: Launcher, pause: float) -> None:
    assert up.process.poll() is not None, "the first launcher has this home"
    _end_while("starting", pause, home)


def test_sigterm_to_make_leaves_no_process_behind(home: Path, up: Launcher) -> None:
    assert up.process.poll() is not None, "the first launcher has this home"
    with launcher(home, command=MAKE_RUN) as booting:
        booting.wait_for_components()
        assert len(booting.tree()) >= 7
        booting.stop(signal.SIGTERM)
        assert re.search(r"make(\[\d+\])?: .*\[.*run\] Error 1", booting.output)
        assert booting.gone_within(5), booting.tree()
    assert not (home / "launcher.json").exists()


def test_component_that_dies_ends_the_launcher(home: Path, up: Launcher) -> None:
    assert up.process.poll() is not None, "the first launcher has this home"
    with launcher(home) as doomed:
        state = doomed.wait_for_components()
        victim = find(state.components[2])
        assert victim is not None
        victim.kill()
        assert doomed.wait(60) == 1
        assert "dag-processor ended with exit code -9" in doomed.output
        assert doomed.gone_within(5), doomed.tree()


def test_port_that_another_server_takes_meanwhile_is_not_mistaken_for_ours(home: Path, up: Launcher) -> None:
    assert up.process.poll() is not None, "the first launcher has this home"
    with launcher(home, command=(sys.executable, "-c", SERVER_ALONE, "up")) as beaten:
        port = int(beaten.wait_for_components(1).url.rpartition(":")[2])
        with socket.create_server(("127.0.0.1", port)):
            assert beaten.wait(120) == 1
        assert "api-server ended with exit code" in beaten.output
        assert "Airflow is up" not in beaten.output
        assert beaten.gone_within(5), beaten.tree()


def test_killed_launcher_takes_its_components_with_it(home: Path, up: Launcher) -> None:
    assert up.process.poll() is not None, "the first launcher has this home"
    with launcher(home) as killed:
        killed.wait_for_components()
        assert killed.stop(signal.SIGKILL) == -signal.SIGKILL
        assert killed.gone_within(30), killed.tree()


def test_next_start_ends_what_is_left_when_even_the_warden_was_killed(home: Path, up: Launcher) -> None:
    assert up.process.poll() is not None, "the first launcher has this home"
    with launcher(home) as killed:
        killed.wait_for_components()
        for process in psutil.Process(killed.process.pid).children():
            if "noria.launcher.warden" in process.cmdline():
                process.kill()
        killed.stop(signal.SIGKILL)
        assert len(killed.tree()) >= 4
        with launcher(home) as following:
            following.wait_for("ending what an earlier start has left running", seconds=30)
            following.wait_for_components()
            assert killed.gone_within(5), killed.tree()
            assert following.stop(signal.SIGINT) == 1
            assert following.gone_within(5), following.tree()


def _log_in(up: Launcher, url: str) -> dict[str, str]:
    """Headers of somebody who has read the password."""
    password = up.wait_for(r"with the password ([^\s;]+)")[1]
    answer = httpx.post(f"{url}/auth/token", json={"username": "admin", "password": password})
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def _end_while(moment: str, pause: float, home: Path) -> None:
    with launcher(home) as booting:
        booting.wait_for(f"{moment} Airflow")
        time.sleep(pause)
        assert booting.stop(signal.SIGTERM) == 1
        assert "Airflow is stopped" in booting.output
        assert booting.gone_within(5), booting.tree()
    assert not [p for p in psutil.process_iter() if _home_of(p) == str(home)]


def _home_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("NORIA_HOME")
    except psutil.Error:
        return None


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "noria.jobs.train" not in process.cmdline() and any(
            "noria.jobs.train" in parent.cmdline() for parent in process.parents()
        )
    except psutil.Error:
        return False


def _kill_job(running: Launcher, module: str) -> None:
    """SIGKILL the job of a stage as the kernel does when memory runs out."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for process in running.tree():
            try:
                if module in process.cmdline():
                    process.kill()
                    return
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.05)
    raise AssertionError(f"{module} was not seen")
