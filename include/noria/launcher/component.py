"""One command of Airflow as a watched process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

COMPONENTS: dict[str, tuple[str, ...]] = {
    # The scheduler's and the triggerer's log servers listen on every address, and no setting changes that; the UI
    # reads the logs from disk.
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
AIRFLOW = (sys.executable, "-m", "airflow")


class Component:
    """A component, in a session of its own so that Ctrl-C reaches the launcher alone.

    Args:
        name: What it is called.
        arguments: Of `airflow`.
        environment: See `airflow_environment`.
        log_file: What it says; that of the previous start is kept beside it.
    """

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log_file: Path) -> None:
        self.name, self.log_file = name, log_file
        if log_file.exists():
            log_file.replace(log_file.with_suffix(".previous.log"))
        with log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [*AIRFLOW, *arguments],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.process = psutil.Process(self._process.pid)

    @property
    def exit_code(self) -> int | None:
        """How it ended, or none while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait for its end; how it ended."""
        return self._process.wait()

    def reap(self) -> None:
        """Take note of its end, once it was ended."""
        self._process.wait(timeout=10)

    def tail(self, lines: int = 25) -> str:
        """The end of what it said."""
        return tail(self.log_file, lines)


def tail(path: Path, lines: int) -> str:
    """The last lines of a file; empty if there is none."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
