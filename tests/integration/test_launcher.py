"""`make run` on the real stack: the first model, the pages, the mail, real data from GitHub, and every way to end."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
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
from tests.support.github import github
from tests.support.launcher import MAKE_RUN, Launcher, launcher
from tests.support.reference import reference

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SMALL = ("trials=4", "tuning.folds=2", "evaluation.seeds=2")
SMALLER = ("--set", "estimators=[{kind: ridge}]", *(word for change in SMALL for word in ("--set", change)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def up(home: Path) -> Iterator[Launcher]:
    """A launcher whose first run, on the sample, has ended, and whose UI is up."""
    with launcher(home, command=MAKE_RUN, SET=" ".join(SMALL)) as started:
        started.wait_for(r"Ctrl-C ends everything", seconds=500)
        yield started


@pytest.fixture(scope="module")
def url(up: Launcher) -> str:
    return up.wait_for(r"Airflow is up after \d+ s: (http://127\.0\.0\.1:\d+)")[1]


@pytest.fixture(scope="module")
def run_id(up: Launcher) -> str:
    return up.wait_for(r"run (\S+) of students__retrain")[1]


def _versions(home: Path) -> list[ChampionVersion]:
    return Workspace.open(Settings.from_env({}, home=home)).registry.history("students")


def test_first_model_is_promoted_and_its_report_stands(up: Launcher, home: Path, run_id: str) -> None:
    assert "the run ended as success" in up.output
    assert up.wait_for(r"\n(\w+): .*\nreport: ")[1] == "promote"
    assert Path(up.wait_for(r"report: (\S+)")[1]).is_file()
    (version,) = _versions(home)
    assert (version.version, version.is_champion, version.run_id) == ("1", True, safe_run_id(run_id))


def test_progress_names_every_stage(up: Launcher) -> None:
    ended = [line.split()[3] for line in up.output.splitlines() if " ✓ " in line]
    assert ended == ["ingest", "validate", "explore", "train", "promote", "report"]


def test_report_is_shown_to_the_one_who_logged_in_and_to_nobody_else(up: Launcher, url: str, run_id: str) -> None:
    page = f"{url}/noria/dags/students__retrain/runs/{run_id}/report"
    assert httpx.get(page, follow_redirects=True).status_code in (401, 403)
    password = up.wait_for(r"with the password (\S+)")[1].rstrip(";")
    assert httpx.post(f"{url}/auth/token", json={"username": "admin", "password": "wrong"}).status_code == 401
    answer = httpx.post(f"{url}/auth/token", json={"username": "admin", "password": password})
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    shown = httpx.get(page, headers=bearer, follow_redirects=True)
    assert shown.status_code == 200
    assert "students" in shown.text
    assert "promote" in shown.text.lower()


def test_new_champion_is_in_the_inbox(up: Launcher, home: Path) -> None:
    deadline = time.monotonic() + 30
    while not (mails := inbox.read(home)) and time.monotonic() < deadline:
        time.sleep(0.2)
    (mail,) = mails
    assert "students" in mail.subject
    assert "new champion" in mail.subject
    assert mail.path.stat().st_mode & 0o077 == 0


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


def test_sigterm_to_make_leaves_no_process_behind(up: Launcher, home: Path) -> None:
    assert len(up.tree()) >= 7
    assert up.stop(signal.SIGTERM) != 1, up.output
    assert up.gone_within(5), up.tree()
    assert not (home / "launcher.json").exists()


@pytest.mark.parametrize(
    ("moment", "pause"), [("preparing", 0.0), ("preparing", 2.0), ("starting", 0.0), ("starting", 0.03)]
)
def test_sigterm_while_airflow_boots_leaves_no_process_behind(tmp_path: Path, moment: str, pause: float) -> None:
    with launcher(tmp_path) as booting:
        booting.wait_for(f"{moment} Airflow")
        time.sleep(pause)
        assert booting.stop(signal.SIGTERM) == 1
        assert "Airflow is stopped" in booting.output
        assert booting.gone_within(5), booting.tree()
    assert not [p for p in psutil.process_iter() if _home_of(p) == str(tmp_path)]


def test_ctrl_c_in_the_middle_of_training_leaves_no_process_behind(home: Path, up: Launcher) -> None:
    assert up.process.poll() is not None, "the first launcher has this home"
    long = {"SET": "trials=5000 tuning.folds=2", "SOURCE": "sample://students?rows=200", "ONCE": "1"}
    with launcher(home, command=MAKE_RUN, **long) as training:
        training.wait_for(r"▸ train +running", seconds=400)
        run_id = safe_run_id(training.wait_for(r"run (\S+) of students__retrain")[1])
        tuning = Workspace.open(Settings.from_env({}, home=home)).load_run("students", run_id).pipeline.tuning
        assert (tuning.trials, tuning.folds) == (5000, 2)
        deadline = time.monotonic() + 60
        while len(workers := [p for p in training.tree() if _is_worker(p)]) < 2:
            assert time.monotonic() < deadline, "no workers came up"
            time.sleep(0.1)
        training.stop(signal.SIGINT, group=True)
        assert training.gone_within(5), training.tree()
    assert not any(worker.is_running() for worker in workers)
    assert not [p for p in psutil.process_iter() if _home_of(p) == str(home)]


def test_real_file_from_github_and_a_stage_that_is_killed(home: Path, up: Launcher, tmp_path: Path) -> None:
    assert up.process.poll() is not None, "the first launcher has this home"
    file = tmp_path / "someone" / "courses" / "data" / "StudentsPerformance.csv"
    file.parent.mkdir(parents=True)
    file.write_bytes(reference("students_performance_kaggle.csv").read_bytes())
    with github(tmp_path) as stand_in:
        source = "github://someone/courses/data/StudentsPerformance.csv@main"
        endpoints = {"NORIA_GITHUB_RAW_URL": stand_in.url, "NORIA_GITHUB_API_URL": stand_in.url}
        with launcher(home, "--once", "--source", source, *SMALLER, **endpoints) as once:
            once.wait_for(r"▸ train +running", seconds=400)
            _kill_job(once, "noria.jobs.train")
            once.wait_for(r"▸ train +running \(try 2\)", seconds=120)
            assert once.wait(400) == 0, once.output
            assert once.gone_within(5), once.tree()
            run_id = safe_run_id(once.wait_for(r"run (\S+) of students__retrain")[1])
        commit = stand_in.commit("someone", "courses")
    workspace = Workspace.open(Settings.from_env({}, home=home))
    run = workspace.load_run("students", run_id)
    snapshot = workspace.require(run, "ingest", Snapshot)
    assert (snapshot.source, snapshot.commit, snapshot.rows) == (source, commit, 1000)
    assert len([v for v in _versions(home) if v.run_id == run_id]) <= 1
    verdict = once.wait_for(r"\n(promote|keep): ")[1]
    assert (verdict == "promote") == any(v.run_id == run_id for v in _versions(home))


def test_failed_run_is_told_by_exit_code_words_and_mail(home: Path, up: Launcher, tmp_path: Path) -> None:
    assert up.process.poll() is not None, "the first launcher has this home"
    before = len(inbox.read(home))
    missing = (tmp_path / "missing.csv").as_uri()
    with launcher(home, "--once", "--source", missing) as once:
        assert once.wait(300) == 2, once.output
        assert "ingest failed" in once.output
        assert "missing.csv" in once.output
    (mail,) = inbox.read(home)[before:]
    assert "failed" in mail.subject
    assert "missing.csv" in mail.text


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
    with launcher(home) as beaten:
        port = int(beaten.wait_for_components().url.rpartition(":")[2])
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
