"""The launcher's parts, without Airflow; the real stack is in tests/integration."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from filelock import FileLock

from noria.errors import BusyError, InputError, StorageError
from noria.launcher import api as api_module
from noria.launcher.api import AirflowApi, ApiUnavailableError
from noria.launcher.credentials import Credentials
from noria.launcher.environment import airflow_environment, ignored_settings
from noria.launcher.ports import USUAL_PORT, choose_port, is_free
from noria.launcher.processes import end_trees, find, identify
from noria.launcher.signals import SIGNALS, signals_held
from noria.launcher.stack import Stack
from noria.launcher.state import LauncherState
from noria.settings import Settings
from noria.verdicts import CONNECTION as VERDICTS
from noria.workspace import Workspace

SLEEPER = "import time; time.sleep(120)"
STUBBORN_FAMILY = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(120)
"""


def _environment(settings: Settings, **changes: object) -> dict[str, str]:
    options = {"ui_port": 8123, "smtp_port": 2525, "scheduled_runs": True, **changes}
    return airflow_environment(settings, Credentials.of_home(settings.home), **options)


def test_credentials_are_made_once_and_are_for_their_owner(tmp_path: Path) -> None:
    first = Credentials.of_home(tmp_path)
    assert Credentials.of_home(tmp_path) == first
    assert Credentials.of_home(tmp_path / "other").password != first.password
    assert len(first.jwt_secret) >= 64
    assert (tmp_path / "airflow" / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert first.password not in repr(first)


def test_damaged_credentials_are_named(tmp_path: Path) -> None:
    Credentials.of_home(tmp_path)
    file = tmp_path / "airflow" / "credentials.json"
    file.write_text('{"password": "half of it')
    with pytest.raises(StorageError, match=r"credentials\.json is damaged"):
        Credentials.of_home(tmp_path)


def test_environment_keeps_everything_on_loopback(tmp_path: Path) -> None:
    environment = _environment(Settings.from_env({}, home=tmp_path))
    for name in ("AIRFLOW__API__BASE_URL", "AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "NORIA_UI_URL"):
        assert environment[name].startswith("http://127.0.0.1:8123"), name
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert json.loads(environment["AIRFLOW_CONN_SMTP_DEFAULT"])["port"] == 2525
    assert environment["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] == "False"
    assert str(tmp_path) in environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]


def test_callers_connections_pass_and_settings_that_would_break_it_do_not(tmp_path: Path) -> None:
    settings = Settings.from_env(
        {
            "AIRFLOW_CONN_GITHUB_DEFAULT": "http://:token@x",
            "AIRFLOW_CONN_SMTP_DEFAULT": "smtp://mail.example.org",
            "AIRFLOW__SECRETS__BACKEND": "some.Backend",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "2",
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW_HOME": "/elsewhere",
        },
        home=tmp_path,
    )
    environment = _environment(settings)
    assert environment["AIRFLOW_CONN_GITHUB_DEFAULT"] == "http://:token@x"
    assert environment["AIRFLOW_CONN_SMTP_DEFAULT"] == "smtp://mail.example.org"
    assert environment["AIRFLOW__SECRETS__BACKEND"] == "some.Backend"
    assert environment["AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME"] == "2"
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert ignored_settings(settings, environment) == ["AIRFLOW_HOME", "AIRFLOW__CORE__EXECUTOR"]


def test_jobs_see_no_secret_of_airflow(tmp_path: Path) -> None:
    settings = Settings.from_env({}, home=tmp_path)
    inside_a_task = Settings.from_env(_environment(settings))
    credentials = Credentials.of_home(tmp_path)
    values = "\n".join(inside_a_task.child_environment().values())
    for secret in (credentials.jwt_secret, credentials.fernet_key, credentials.password):
        assert secret not in values


def test_the_key_that_signs_verdicts_is_the_homes_own_unless_a_connection_has_it(tmp_path: Path) -> None:
    given = {"AIRFLOW_CONN_NORIA_VERDICTS": '{"conn_type": "generic", "password": "' + "v" * 40 + '"}'}
    for environ, expected in (({}, None), (given, "v" * 40)):
        settings = Settings.from_env(environ, home=tmp_path)
        signed_with = Workspace.open(settings).keyring.keys[0]
        inside_a_task = Settings.from_env(_environment(settings))
        assert Workspace.open(inside_a_task).keyring.keys[0] == signed_with
        assert signed_with == expected or (expected is None and not inside_a_task.connection_text(VERDICTS))
        assert signed_with not in "\n".join(inside_a_task.child_environment().values())


def test_taken_port_is_refused_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(InputError, match=rf"port {port} .*PORT="):
            choose_port(port)
    assert choose_port(port) == port


def test_port_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="port 70000"):
        choose_port(70000)


def test_any_free_port_where_the_usual_one_is_taken() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", USUAL_PORT))
            taken.listen()
        except OSError:
            pass  # taken by somebody else: all the same
        port = choose_port(None)
        assert port != USUAL_PORT
        assert is_free(port)


def test_process_is_not_mistaken_for_a_later_one_with_its_number() -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER]) as child:
        identity = identify(psutil.Process(child.pid))
        assert find(identity) is not None
        assert find({**identity, "created": identity["created"] - 60}) is None
        child.kill()
    assert find(identity) is None


def test_tree_is_ended_with_children_in_sessions_of_their_own() -> None:
    family = subprocess.Popen([sys.executable, "-c", STUBBORN_FAMILY], stdout=subprocess.PIPE, text=True)
    assert family.stdout is not None
    grandchild = psutil.Process(int(family.stdout.readline()))
    started = time.monotonic()
    end_trees([psutil.Process(family.pid)], grace_seconds=0.5)
    assert time.monotonic() - started < 10
    family.wait(timeout=5)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE
    family.stdout.close()


def test_signal_waits_until_what_it_would_interrupt_is_done() -> None:
    done: list[str] = []

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), signals_held():
            signal.raise_signal(signal.SIGTERM)
            child = subprocess.Popen([sys.executable, "-c", SLEEPER])
            done.append("registered")
        assert done == ["registered"]
        assert signal.getsignal(signal.SIGTERM) is interrupt
        child.terminate()
        assert child.wait(timeout=10) == -signal.SIGTERM, "a child that is started meanwhile can be ended"
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def handlers() -> Iterator[None]:
    """What the test makes of the signals ends with it."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_python_swallows_is_raised_where_the_launcher_waits(tmp_path: Path) -> None:
    stack = Stack(Settings(home=tmp_path, lake_url=""), port=None, scheduled_runs=False, tell=print)
    with FileLock(tmp_path / "launcher.lock"), pytest.raises(BusyError), stack:
        """It takes the signals before anything else, and starts nothing here."""
    stack.check()

    class Forgotten:
        """What the garbage collector comes upon while the signal arrives."""

    thing = Forgotten()
    watched = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))
    del thing
    assert watched() is None
    with pytest.raises(KeyboardInterrupt):
        stack.check()
    signal.raise_signal(signal.SIGINT)  # stopping takes seconds and is not cut short


def test_warden_ends_what_it_was_told_of_when_its_pipe_closes() -> None:
    component = subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True)
    warden = subprocess.Popen([sys.executable, "-m", "noria.launcher.warden"], stdin=subprocess.PIPE, text=True)
    assert warden.stdin is not None
    warden.stdin.write(json.dumps(identify(psutil.Process(component.pid))) + "\n")
    warden.stdin.flush()
    time.sleep(0.5)
    assert component.poll() is None, "not while the launcher lives"
    warden.stdin.close()
    assert component.wait(timeout=20) == -15
    assert warden.wait(timeout=20) == 0


def test_state_is_for_its_owner_and_knows_whether_it_still_holds(tmp_path: Path) -> None:
    me = identify(psutil.Process())
    state = LauncherState(me, "http://127.0.0.1:1", 25, [me])
    state.save(tmp_path)
    assert LauncherState.load(tmp_path) == state
    assert state.is_running
    assert not LauncherState({**me, "created": 1.0}, "", 0, []).is_running
    assert (tmp_path / "launcher.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "launcher.json").write_text("[]")
    assert LauncherState.load(tmp_path) is None


@pytest.mark.parametrize(("refusals", "ends"), [(2, True), (3, False)])
def test_a_run_is_stopped_though_the_database_is_held_for_a_moment(
    refusals: int, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_module, "TRY_AGAIN_SECONDS", 0)
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            return httpx.Response(201, json={"access_token": "t"})
        asked.append(request.method)
        return httpx.Response(500 if len(asked) <= refusals else 200, json={"detail": "Database error"})

    api = AirflowApi("http://127.0.0.1:1", "p")
    api._http = httpx.Client(base_url=api.url, transport=httpx.MockTransport(answer))
    with contextlib.nullcontext() if ends else pytest.raises(ApiUnavailableError, match="Database error"):
        api.fail_run("students__retrain", "r1", "by a test")
    assert asked == ["PATCH"] * 3
