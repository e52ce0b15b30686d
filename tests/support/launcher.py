"""The launcher as a person starts it: `noria up` or `make run` as a process, with what it prints."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from noria.launcher.state import LauncherState
from noria.settings import CHECKOUT

STOP_SECONDS = 60
LOOK_SECONDS = 0.5
UP = (Path(sys.executable).parent / "noria", "up")
QUIET = {
    # The tests' DAGs do not change, and reading all of them anew every half minute takes a fifth of a processor.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
    # Nor does it matter here whether a task begins three tenths of a second later.
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
}
"""Settings of an Airflow that takes less of the processors while it waits."""
MAKE_RUN = ("make", "--old-file=setup", "run")
"""`make run` without its check of .venv, which the tests are running in."""


class Launcher:
    """A running `noria up`.

    Args:
        home: Its NORIA_HOME.
        command: What is started.
        arguments: Of the command.
        environment: Beside that of the tests, which is cleared of what would change the launcher.
    """

    def __init__(self, home: Path, *arguments: str, command: Sequence[str | Path] = UP, **environment: str) -> None:
        self.home = home
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "NORIA_"))}
        self.process = subprocess.Popen(
            [*command, *arguments],
            cwd=CHECKOUT,
            env={**clean, **QUIET, "NORIA_HOME": str(home), "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._seen: dict[tuple[int, float], psutil.Process] = {}
        self._looked = 0.0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self._lines.extend(iter(self.process.stdout.readline, ""))

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return "".join(self._lines)

    def wait_for(self, pattern: str, seconds: float = 240) -> re.Match[str]:
        """Wait until it has printed something."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._look()
            if found := re.search(pattern, self.output):
                return found
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.1)
        raise AssertionError(f"no {pattern!r} (exit code {self.process.poll()}) in:\n{self.output}")

    def wait_for_components(self, count: int = 4, seconds: float = 60) -> LauncherState:
        """Wait until so many have been started, by default all; they need not be up."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state = LauncherState.load(self.home)
            started = state and state.launcher["pid"] in {process.pid for process in self.tree()}
            if state and started and len(state.components) == count:
                self.tree()
                return state
            time.sleep(0.05)
        raise AssertionError(f"{count} components did not start:\n{self.output}")

    def wait(self, seconds: float = 240) -> int:
        """Wait for its end; the exit code."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it did not end:\n{self.output}"
            self._look()
            time.sleep(0.2)
        self._reader.join(timeout=10)
        return self.process.returncode

    def _look(self) -> None:
        """Remember who belongs to it; now and then only: a look takes 10 ms of a processor."""
        if time.monotonic() > self._looked + LOOK_SECONDS:
            self.tree()
            self._looked = time.monotonic()

    def tree(self) -> list[psutil.Process]:
        """It and all its descendants; each is remembered, so that those left behind are found again."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._seen.setdefault((process.pid, process.create_time()), process)
        return [p for p in self._seen.values() if _lives(p)]

    def gone_within(self, seconds: float) -> bool:
        """Whether every process that ever belonged to it ends in that time."""
        deadline = time.monotonic() + seconds
        while self.tree() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.tree()

    def stop(self, number: int = signal.SIGTERM, *, group: bool = False) -> int:
        """Send a signal, to its whole group as a terminal does if so wanted, and wait for its end; the exit code."""
        self.tree()
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        return self.wait(STOP_SECONDS)


@contextlib.contextmanager
def launcher(home: Path, *arguments: str, command: Sequence[str | Path] = UP, **environment: str) -> Iterator[Launcher]:
    """A launcher that is gone when the context ends, whatever the test did."""
    started = Launcher(home, *arguments, command=command, **environment)
    try:
        yield started
    finally:
        for process in started.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
