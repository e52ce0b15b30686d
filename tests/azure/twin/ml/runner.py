"""Runs the command of one job or trial as Azure ML does: on every node, from the uploaded snapshot."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.azure.twin.ml.state import Plane

POLL_SECONDS = 0.05
END_SECONDS = 3.0
_IDENTITY = ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_TOKEN_CREDENTIALS", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_GUARD = ("NO_PROXY", "no_proxy", "NORIA_TWIN_GUARD")


@dataclass(frozen=True)
class Work:
    """What is to be run.

    Attributes:
        workspace: Whose job it is.
        name: Of the job or trial.
        command: For the shell, with everything put in.
        code_id: ARM id of the snapshot, or none.
        variables: Environment variables that the job names.
        nodes: How many machines; each is a process here.
        distributed: Whether they are told of each other (the kind PyTorch).
        timeout_seconds: After that it is ended.
        tracking: MLFLOW_TRACKING_URI and MLFLOW_RUN_ID.
    """

    workspace: str
    name: str
    command: str
    code_id: str | None
    variables: Mapping[str, str]
    nodes: int = 1
    distributed: bool = False
    timeout_seconds: float | None = None
    tracking: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How it ended: Completed, Failed or Canceled, with Azure's code and sentence where it has not succeeded."""

    status: str
    code: str = ""
    message: str = ""


class Runner:
    """One piece of work while it runs.

    Attributes:
        folder: Working folders and logs of its nodes.
    """

    def __init__(self, plane: Plane, work: Work) -> None:
        self._plane, self._work = plane, work
        self.folder = plane.folder / "jobs" / work.workspace / work.name
        self._cancelled = threading.Event()
        self._processes: list[subprocess.Popen[Any]] = []

    def cancel(self) -> None:
        """End it; `run` then returns."""
        self._cancelled.set()

    def wait(self, seconds: float) -> bool:
        """Sleep; whether it was cancelled meanwhile."""
        return self._cancelled.wait(seconds)

    def prepare(self) -> None:
        """A working folder for each node, with the snapshot in it."""
        for rank in range(self._work.nodes):
            folder = self._node(rank)
            folder.parent.mkdir(parents=True, exist_ok=True)
            if self._work.code_id:
                shutil.copytree(snapshot(self._plane, self._work.code_id), folder)
            else:
                folder.mkdir()

    def run(self, on_tick: Callable[[], None] = lambda: None) -> Outcome:
        """Run it to its end; `on_tick` is called many times a second."""
        (self.folder / "user_logs").mkdir(parents=True, exist_ok=True)
        port = _free_port()
        self._processes = [self._start(rank, port) for rank in range(self._work.nodes)]
        limit = self._work.timeout_seconds
        deadline = time.monotonic() + limit if limit else None
        try:
            while True:
                codes = [process.poll() for process in self._processes]
                if outcome := self._judge(codes, deadline):
                    return outcome
                on_tick()
                self._cancelled.wait(POLL_SECONDS)
        finally:
            self._end()

    def logs(self) -> dict[str, Path]:
        """Name -> file, for what its nodes have written."""
        return {f"user_logs/{file.name}": file for file in sorted((self.folder / "user_logs").glob("*.txt"))}

    def _judge(self, codes: list[int | None], deadline: float | None) -> Outcome | None:
        if self._cancelled.is_set():
            return Outcome("Canceled")
        if failed := next((code for code in codes if code), None):
            message = f"Execution failed. User process 'sh' exited with status code {failed}. Please check log file."
            return Outcome("Failed", "UserError", message)
        if all(code == 0 for code in codes):
            return Outcome("Completed")
        if deadline is not None and time.monotonic() > deadline:
            return Outcome("Canceled", "JobTimeout", "The job was canceled because it ran longer than its timeout.")
        return None

    def _start(self, rank: int, port: int) -> subprocess.Popen[Any]:
        many = self._work.nodes > 1 or self._work.distributed
        log = self.folder / "user_logs" / (f"std_log_process_{rank}.txt" if many else "std_log.txt")
        with log.open("w") as file:
            return self._plane.state.spawn(
                ["/bin/sh", "-c", self._work.command],
                cwd=self._node(rank),
                env=self._environment(rank, port),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _environment(self, rank: int, port: int) -> dict[str, str]:
        """What a node's process sees: its own variables and the platform's, none of this machine's secrets."""
        twin = self._plane.state.environment()
        asked = dict(self._work.variables)
        path = os.pathsep.join(p for p in (asked.pop("PYTHONPATH", ""), twin["PYTHONPATH"]) if p)
        programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
        nodes = {
            "NODE_RANK": str(rank), "RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": str(self._work.nodes),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
        return {
            "PATH": programs,
            "HOME": str(self._node(rank)),
            "LANG": "C.UTF-8",
            **{name: twin[name] for name in (*_IDENTITY, *_GUARD) if name in twin},
            **self._work.tracking,
            **asked,
            "PYTHONPATH": path,
            "AZUREML_RUN_ID": self._work.name,
            **(nodes if self._work.distributed else {}),
        }

    def _node(self, rank: int) -> Path:
        return self.folder / f"node-{rank}" / "wd"

    def _end(self) -> None:
        """End what is left of it with all descendants."""
        for number, wait in ((signal.SIGTERM, END_SECONDS), (signal.SIGKILL, END_SECONDS)):
            for process in self._processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            deadline = time.monotonic() + wait
            while time.monotonic() < deadline and any(map(_group_lives, self._processes)):
                time.sleep(POLL_SECONDS)


def snapshot(plane: Plane, code_id: str) -> Path:
    """The files of a code version, downloaded once."""
    with _downloads:
        target = plane.folder / "codes" / code_id.rpartition("/codes/")[2].replace("/", "-")
        if not target.exists():
            parts = code_id.split("/")
            found = plane.store.get(parts[-5], "codes", parts[-3], parts[-1])
            assert found is not None, code_id
            container, _, prefix = (
                urllib.parse.urlsplit(found.body["properties"]["codeUri"]).path.strip("/").partition("/")
            )
            plane.blobs.download(container, prefix, target)
        return target


_downloads = threading.Lock()


def substitute(text: str, values: Mapping[str, Mapping[str, Any]]) -> str:
    """`${{inputs.x}}`, `${{search_space.x}}` and `${{outputs.x}}` with their values."""

    def value(match: re.Match[str]) -> str:
        found = values.get(match["kind"], {}).get(match["name"])
        assert found is not None, f"{match.group()} stands for nothing"
        return found if isinstance(found, str) else json.dumps(found)

    return re.sub(r"\$\{\{\s*(?P<kind>inputs|outputs|search_space)\.(?P<name>[\w.]+)\s*\}\}", value, text)


def seconds_of(duration: str | None) -> float | None:
    """ISO 8601 duration in seconds."""
    if not duration:
        return None
    import isodate

    return float(isodate.parse_duration(duration).total_seconds())


def _group_lives(process: subprocess.Popen[Any]) -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
