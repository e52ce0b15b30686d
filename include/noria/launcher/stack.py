"""Airflow's four components on loopback: one stack a home, booted, watched and ended together."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import psutil
from filelock import FileLock, Timeout

from noria.errors import BusyError, NoriaError
from noria.launcher.api import AirflowApi
from noria.launcher.component import COMPONENTS, Component
from noria.launcher.credentials import USER, Credentials
from noria.launcher.environment import HOST, airflow_environment, airflow_home, ignored_settings
from noria.launcher.ports import choose_port
from noria.launcher.processes import end_trees, find, identify
from noria.launcher.signals import Interruption, signals_held
from noria.launcher.state import LauncherState
from noria.launcher.state import path as state_path
from noria.mailbox import inbox
from noria.mailbox.sink import MailSink
from noria.settings import Settings

BOOT_SECONDS = 180.0
KEEP_LOGS_DAYS = 30


class ComponentError(NoriaError):
    """A component of Airflow ended, or did not come up."""


class Stack:
    """The components for the length of a context.

    Args:
        settings: Of the caller; the stack takes its home for itself.
        port: Of the UI; none for 8080 or, if that is taken, any free one.
        scheduled_runs: Whether runs start by their schedule, or by hand only.
        tell: Called with lines for the person who waits.
    """

    def __init__(
        self, settings: Settings, *, port: int | None, scheduled_runs: bool, tell: Callable[[str], None]
    ) -> None:
        self._settings, self._wanted_port, self._scheduled_runs, self._tell = settings, port, scheduled_runs, tell
        self._logs = settings.home / "logs" / "launcher"
        self._components: list[Component] = []
        self._interruption = Interruption()
        self._undo = contextlib.ExitStack()
        self.user = USER

    def __enter__(self) -> Stack:
        self._interruption.watch()
        try:
            self._boot()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def check(self) -> None:
        """Raise ComponentError if a component has ended, KeyboardInterrupt if somebody wants the end."""
        self._interruption.check()
        for component in self._components:
            if component.exit_code is not None:
                raise ComponentError(
                    f"Airflow's {component.name} ended with exit code {component.exit_code}; "
                    f"the end of {component.log_file}:\n{component.tail()}\n",
                    remedy="Everything else was stopped. Run `noria doctor` for the usual causes, then start again.",
                )

    def _boot(self) -> None:
        self._take_home()
        self._logs.mkdir(parents=True, exist_ok=True)
        credentials = Credentials.of_home(self._settings.home)
        self.password = credentials.password
        sink = self._undo.enter_context(MailSink(inbox.folder(self._settings.home)))
        environment = self._environment(credentials, sink.port)
        for name in ignored_settings(self._settings, environment):
            self._tell(f"{name} of your environment is not used here")
        _prune_logs(airflow_home(self._settings) / "logs")
        self._start_warden()
        self._migrate(environment, sink.port)
        self._start(self._environment(credentials, sink.port), sink.port)
        self.api = AirflowApi(self.url, self.password)
        self._undo.callback(self.api.close)
        self._wait_until_healthy()

    def _environment(self, credentials: Credentials, smtp_port: int) -> dict[str, str]:
        """With a port that is free now: preparing the database takes long enough for another process to take one."""
        self.port = choose_port(self._wanted_port)
        self.url = f"http://{HOST}:{self.port}"
        return airflow_environment(
            self._settings,
            credentials,
            ui_port=self.port,
            smtp_port=smtp_port,
            scheduled_runs=self._scheduled_runs,
        )

    def _take_home(self) -> None:
        """Become the only launcher of this home, and end what a killed one has left."""
        self._settings.home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._settings.home / "launcher.lock")
        try:
            self._undo.enter_context(lock.acquire(blocking=False))
        except Timeout:
            state = LauncherState.load(self._settings.home)
            where = f"{state.url} (process {state.launcher['pid']})" if state else "it is just starting"
            raise BusyError(
                f"Noria is running in {self._settings.home} already: {where}",
                remedy="Use that one, or stop it with Ctrl-C, or give this one a home of its own with NORIA_HOME.",
            ) from None
        state = LauncherState.load(self._settings.home)
        left = [process for i in state.components if (process := find(i))] if state else []
        if left:
            self._tell("ending what an earlier start has left running")
            end_trees(left)
        self._undo.callback(state_path(self._settings.home).unlink, missing_ok=True)

    def _migrate(self, environment: dict[str, str], smtp_port: int) -> None:
        """Bring the metadata database to Airflow's version; the version that did it last is noted beside it."""
        from importlib.metadata import version

        note = airflow_home(self._settings) / "migrated"
        wanted = version("apache-airflow-core")
        database = airflow_home(self._settings) / "airflow.db"
        if database.exists() and note.exists() and note.read_text() == wanted:
            return
        self._tell("preparing Airflow's database")
        migration = self._spawn("migrate", ("db", "migrate"), environment, smtp_port)
        exit_code = migration.wait()
        self._components.remove(migration)
        if exit_code != 0:
            raise ComponentError(
                f"`airflow db migrate` ended with exit code {exit_code}; the end of {migration.log_file}:\n"
                f"{migration.tail()}\n"
            )
        note.write_text(wanted)

    def _start(self, environment: dict[str, str], smtp_port: int) -> None:
        self._tell("starting Airflow")
        for name, arguments in COMPONENTS.items():
            self._spawn(name, arguments, environment, smtp_port)

    def _start_warden(self) -> None:
        with signals_held():
            self._warden = subprocess.Popen(
                [sys.executable, "-m", "noria.launcher.warden"],
                stdin=subprocess.PIPE,
                start_new_session=True,
                text=True,
            )
            assert self._warden.stdin is not None  # noqa: S101  it is a pipe
            self._undo.callback(self._warden.wait)
            self._undo.callback(self._warden.stdin.close)
            self._undo.callback(self._end)

    def _spawn(self, name: str, arguments: Sequence[str], environment: dict[str, str], smtp_port: int) -> Component:
        """Start a component and tell all who have to end it, without a moment in which nobody would."""
        with signals_held():
            component = Component(name, arguments, environment, self._logs / f"{name}.log")
            self._components.append(component)
            assert self._warden.stdin is not None  # noqa: S101  it is a pipe
            self._warden.stdin.write(json.dumps(identify(component.process)) + "\n")
            self._warden.stdin.flush()
            started = [identify(c.process) for c in self._components]
            LauncherState(identify(psutil.Process()), self.url, smtp_port, started).save(self._settings.home)
        return component

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            health = self.api.health() if self._is_listening() else {}
            if health and all(status == "healthy" for status in health.values()):
                return
            self.check()
            if time.monotonic() > deadline:
                raise ComponentError(
                    f"Airflow is not healthy after {BOOT_SECONDS:.0f} s: {health or 'its API server does not answer'}",
                    remedy=f"See the logs in {self._logs}.",
                )
            time.sleep(0.5)

    def _is_listening(self) -> bool:
        """Whether the API server itself has the port; another Airflow there would answer for it."""
        server = self._components[0].process
        with contextlib.suppress(psutil.Error):
            return any(
                connection.status == psutil.CONN_LISTEN and connection.laddr.port == self.port
                for process in (server, *server.children(recursive=True))
                for connection in process.net_connections(kind="tcp")
            )
        return False

    def _end(self) -> None:
        end_trees(c.process for c in self._components if c.process.is_running())
        for component in self._components:
            component.reap()


def _prune_logs(folder: Path) -> None:
    """Forget task logs that are older than anybody will ask for."""
    oldest = time.time() - KEEP_LOGS_DAYS * 86400
    for file in folder.rglob("*.log"):
        with contextlib.suppress(OSError):
            if file.stat().st_mtime < oldest:
                file.unlink()
