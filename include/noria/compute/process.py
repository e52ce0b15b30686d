"""A job as a child process: `python -m noria.jobs.<name>` in a process group of its own that dies with its parent."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO

from noria.errors import JobError, as_raised
from noria.records import Run
from noria.settings import Settings

log = logging.getLogger(__name__)


class ChildJob:
    """A job in a child process.

    Args:
        job: Name of a module in `noria.jobs`.
        arguments: Of its command line.
        settings: Handed on through the environment, without credentials.
        credentials: Airflow connection id -> token; handed on through a pipe, seen by nobody else.
        log_file: Where the job's log is appended.
        on_line: Called with each line of the log.
    """

    def __init__(
        self,
        job: str,
        arguments: Sequence[str],
        settings: Settings,
        *,
        credentials: Mapping[str, str] | None = None,
        log_file: Path | None = None,
        on_line: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._job, self._arguments, self._settings = job, tuple(arguments), settings
        self._credentials = dict(credentials or {})
        self._log_file, self._on_line = log_file, on_line
        self._process: subprocess.Popen[str] | None = None
        self._last_line = ""

    def run(self) -> str:
        """Run to the end.

        Returns:
            The record's lake path.

        Raises:
            NoriaError: What the job said went wrong.
            JobError: The job ended without an answer.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"noria.jobs.{self._job}", *self._arguments, "--lease"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=self._settings.child_environment(),
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr  # noqa: S101  they are pipes
        answer: list[str] = []
        readers = [
            threading.Thread(target=self._read_log, args=(self._process.stderr,), daemon=True),
            threading.Thread(target=answer.extend, args=(self._process.stdout,), daemon=True),
        ]
        for reader in readers:
            reader.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(self._credentials) + "\n")
                self._process.stdin.flush()
            code = self._process.wait()
        finally:
            self.kill()  # children that outlived the job hold its pipes open
        for reader in readers:
            reader.join(timeout=5)
        return self._result("".join(answer), code)

    def kill(self) -> None:
        """End the job and all its children; safe to call at any time."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=5)
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _read_log(self, stream: IO[str]) -> None:
        """Read to the end whatever happens: a job whose log nobody reads stands still when the pipe is full."""
        takers: list[Callable[[str], object]] = [self._on_line]
        with contextlib.ExitStack() as stack:
            if self._log_file is not None:
                takers.append(_LogFile(self._log_file, stack).append)
            for line in stream:
                self._last_line = line.strip() or self._last_line
                for take in tuple(takers):
                    try:
                        take(line.rstrip("\n"))
                    except Exception as error:
                        takers.remove(take)
                        log.warning("the %s job's log is not complete: %s", self._job, error)

    def _result(self, answer: str, code: int) -> str:
        try:
            said = json.loads(answer.strip().splitlines()[-1])
        except (IndexError, ValueError):
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            last = f"; its last words: {self._last_line}" if self._last_line else ""
            raise JobError(
                f"the {self._job} job {how} without an answer{last}",
                remedy="Signal 9 often means that memory ran out." if code == -signal.SIGKILL else "See its log.",
            ) from None
        if "record" in said:
            return str(said["record"])
        raise as_raised(said["error"], said["message"])


class JobProcess(ChildJob):
    """One stage of one run in a child process.

    Args:
        stage: Name of the stage.
        run: The run, which must have been created.
        settings: Handed on through the environment, without credentials.
        credentials: Airflow connection id -> token; handed on through a pipe, seen by nobody else.
        log_file: Where the job's log is appended.
        on_line: Called with each line of the log.
    """

    def __init__(
        self,
        stage: str,
        run: Run,
        settings: Settings,
        *,
        credentials: Mapping[str, str] | None = None,
        log_file: Path | None = None,
        on_line: Callable[[str], None] = lambda _line: None,
    ) -> None:
        arguments = ["--pipeline", run.pipeline.name, "--run-id", run.run_id]
        super().__init__(stage, arguments, settings, credentials=credentials, log_file=log_file, on_line=on_line)


class _LogFile:
    """A file that is opened by its first line, and written without a buffer that closing would try to write again."""

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        self._path, self._stack = path, stack

    def append(self, line: str) -> None:
        self._sink.write(f"{line}\n".encode())

    @cached_property
    def _sink(self) -> IO[bytes]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._stack.enter_context(self._path.open("ab", buffering=0))
