"""Dask on the nodes that a platform gives to one job: a scheduler on the first, workers on all, until the job ends.

Every node runs the same command; the platform says which one it is (`Settings.node`). The processes are Dask's own
commands. They listen on the nodes' private addresses only, since whoever reaches them can run code.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from noria.compute.ending import ended_by_sigterm
from noria.errors import JobError
from noria.settings import Node

log = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
_GATHER_SECONDS = 180
"""Nodes of a distributed job start together; what is not there after this time does not come."""
_END_SECONDS = 10
_NO_PAGES = {f"DASK_DISTRIBUTED__{kind}__HTTP__ROUTES": "[]" for kind in ("SCHEDULER", "WORKER")}
_QUIET = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")


@dataclass(frozen=True)
class DaskNode:
    """This node's part.

    Attributes:
        node: Which node this is.
        workers: Worker processes on each node.
        environment: Of all processes that are started.
        folder: Where workers keep what does not fit in memory.
    """

    node: Node
    workers: int
    environment: Mapping[str, str]
    folder: str

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return f"tcp://{self.node.first}:{self.node.port}"

    def lead(self, command: Sequence[str]) -> int:
        """On the first node: run a command with the scheduler's address in NORIA_DASK_ADDRESS; its exit code.

        Raises:
            JobError: The scheduler or this node's workers ended before it, or not all workers came.
        """
        with ended_by_sigterm(), contextlib.ExitStack() as stack:
            scheduler = stack.enter_context(self._process(*self._scheduler()))
            worker = stack.enter_context(self._process(*self._worker()))
            helpers = {"scheduler": scheduler, "workers": worker}
            self._gather(lambda: _check(helpers))
            job = stack.enter_context(self._process(*command, NORIA_DASK_ADDRESS=self.address))
            while job.poll() is None:
                _check(helpers)
                time.sleep(_POLL_SECONDS)
            return job.returncode

    def follow(self) -> None:
        """On any other node: work until the scheduler ends."""
        with ended_by_sigterm(), self._process(*self._worker()) as worker:
            worker.wait()

    def _scheduler(self) -> list[str]:
        return [
            *(sys.executable, "-m", "dask", "scheduler"),
            *("--host", self.node.first, "--port", str(self.node.port), "--no-show", *_QUIET),
        ]

    def _worker(self) -> list[str]:
        from distributed.utils import get_ip

        return [
            *(sys.executable, "-m", "dask", "worker", self.address),
            *("--host", get_ip(self.node.first, self.node.port), "--nworkers", str(self.workers), "--nthreads", "1"),
            *("--memory-limit", f"{1 / self.workers:.4f}", "--local-directory", self.folder),
            *("--death-timeout", str(_GATHER_SECONDS), *_QUIET),
        ]

    def _gather(self, check: Callable[[], None]) -> None:
        """Wait until the workers of all nodes are there, so that the training has them from its first trial on."""
        from distributed import Client

        wanted, found = self.node.count * self.workers, 0
        deadline = time.monotonic() + _GATHER_SECONDS
        while time.monotonic() < deadline:
            check()
            with contextlib.suppress(OSError, TimeoutError), Client(self.address, timeout=2) as client:
                found = len(client.scheduler_info(n_workers=-1)["workers"])
                if found >= wanted:
                    log.info("%d Dask workers on %d nodes", found, self.node.count)
                    return
            time.sleep(_POLL_SECONDS)
        raise JobError(
            f"{found} of {wanted} Dask workers came within {_GATHER_SECONDS} seconds",
            remedy="See the logs of the other nodes; they must reach the first one's MASTER_PORT.",
        )

    @contextlib.contextmanager
    def _process(self, *command: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """A child for as long as the context lasts."""
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        process = subprocess.Popen(command, env={**self.environment, **one_thread, **_NO_PAGES, **variables})
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _check(helpers: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for name, process in helpers.items():
        if process.poll() is not None:
            raise JobError(f"Dask's {name} on the first node ended too early, with exit code {process.returncode}")
