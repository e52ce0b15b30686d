"""A job as a child process: `python -m noria.jobs.<name>` in a process group of its own that dies with its parent."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import IO

import psutil

from noria.compute.meter import available_cores
from noria.compute.remote import JobUse
from noria.errors import JobError, as_raised
from noria.records import Run, Usage
from noria.settings import Settings

log = logging.getLogger(__name__)
_END_SECONDS, _POLL_SECONDS = 5.0, 0.02
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Of `ru_maxrss`, in bytes: see getrusage(2)."""


class ChildJob:
    """A job in a child process.

    Args:
        job: Name of a module in `noria.jobs`.
        arguments: Of its command line.
        settings: Handed on through the environment, without credentials.
        credentials: Airflow connection id -> token; handed on through a pipe, seen by nobody else.
        log_file: Where the job's log is appended.
        on_line: Called with each line of the log.

    Attributes:
        died: What a job used that ended without an answer, by itself or because `run` was cut off; else none.
    """

    died: JobUse | None = None

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
        self._is_killed = False
        self._reaping = threading.RLock()  # `kill` may come from another thread, and from a signal in this one
        self._used: resource.struct_rusage | None = None
        self._orphans_cpu = 0.0
        self._last_line = ""

    def run(self) -> str:
        """Run to the end.

        Returns:
            The record's lake path.

        Raises:
            NoriaError: What the job said went wrong.
            JobError: The job ended without an answer.
        """
        started = time.monotonic()
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
        try:
            for reader in readers:
                reader.start()
            if self._is_killed:  # before there was a process to end
                self.kill()
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(self._credentials) + "\n")
                self._process.stdin.flush()
            code = self._wait()
        finally:  # a time limit and Ctrl-C come out of the waiting
            self.kill()  # children that outlived the job hold its pipes open
            self.died = self._account(time.monotonic() - started)
        for reader in readers:
            reader.join(timeout=5)
        return self._result("".join(answer), code)

    def kill(self) -> None:
        """End the job and all its children; safe to call at any time."""
        self._is_killed = True
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self._reap() is None:
                os.killpg(self._process.pid, signal.SIGTERM)
                end = time.monotonic() + _END_SECONDS
                while self._reap() is None and time.monotonic() < end:
                    time.sleep(_POLL_SECONDS)
            os.killpg(self._process.pid, signal.SIGKILL)
        self._wait()

    def _wait(self) -> int:
        """Wait until the job has ended; its exit code."""
        assert self._process is not None  # noqa: S101  it was started
        if self._process.returncode is None:
            with contextlib.suppress(ChildProcessError):  # another thread has reaped it
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        code = self._reap()
        assert code is not None  # noqa: S101  it has ended
        return code

    def _reap(self) -> int | None:
        """The exit code of a job that has ended, with the system's account of it, which is given but once."""
        assert self._process is not None  # noqa: S101  it was started
        with self._reaping:
            if self._process.returncode is None:
                try:
                    pid, status, used = os.wait4(self._process.pid, os.WNOHANG)
                except ChildProcessError:  # somebody else has reaped it; subprocess takes that for a good end too
                    self._process.returncode = 0
                    return 0
                if pid:
                    self._used, self._process.returncode = used, os.waitstatus_to_exitcode(status)
                    if self._process.returncode < 0:  # else it has ended its own children
                        self._orphans_cpu = _cpu_seconds_of_session(pid)
            return self._process.returncode

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
        self.died = None
        if "record" in said:
            return str(said["record"])
        raise as_raised(said["error"], said["message"])

    def _account(self, wall_seconds: float) -> JobUse | None:
        """What the system says that the job used; of memory only the peak is known, which stands for all the time."""
        if self._used is None:
            return None
        finished, peak = datetime.now(UTC), self._used.ru_maxrss * _RSS_UNIT
        usage = Usage(
            wall_seconds=round(wall_seconds, 3),
            cpu_seconds=round(self._used.ru_utime + self._used.ru_stime + self._orphans_cpu, 3),
            peak_rss_bytes=peak,
            vcpu_seconds=round(wall_seconds * available_cores(), 3),
            memory_byte_seconds=round(peak * wall_seconds),
            machine=self._settings.machine,
        )
        return JobUse(finished - timedelta(seconds=wall_seconds), finished, usage)


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


def _cpu_seconds_of_session(leader: int) -> float:
    """Of the processes that a dead job has left behind: nobody has waited for them, so the job's account lacks them."""
    found = 0.0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == leader:
                found += sum(process.cpu_times()[:4])
    return found


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
