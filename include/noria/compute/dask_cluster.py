"""Dask: worker processes of one thread each on this machine, or the scheduler that is there already."""

from __future__ import annotations

import contextlib
import logging
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noria.compute.meter import available_cores
from noria.errors import JobError
from noria.models.workers import NOT_BEGUN

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)
_CONNECT_SECONDS = 10
_LOST_DATA_ATTEMPTS = 3
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass
class Shared:
    """A value that the workers hold; it can be sent again if the last worker that held it died."""

    value: Any
    future: Future


class DaskWorkers:
    """Functions applied to shared data on the workers of a Dask cluster."""

    def __init__(self, client: Client, description: str) -> None:
        self._client = client
        self.description = description

    def share(self, value: Any) -> Shared:
        """Send a value to every worker, once."""
        with _connected():
            return Shared(value, self._client.scatter(value, broadcast=True, hash=False))

    @property
    def cores(self) -> int:
        """Processor cores of all the machines that the workers run on, now; of a cluster that grows others later."""
        with _connected():  # a worker that has just died is no error: what it ran is run again
            found: dict[str, int] = self._client.run(available_cores, on_error="ignore")
        hosts = {urllib.parse.urlsplit(address).hostname: count for address, count in found.items()}
        return max(1, sum(hosts.values()))

    def map(
        self, function: Callable[[Any, Any], Any], shared: Shared, jobs: Sequence[Any], *, until: float | None = None
    ) -> list[Any]:
        """`function(value, job)` for each job; results, or the exceptions they raised, in the order of the jobs.

        A worker that dies is replaced and its jobs run again. Where there is an end, a job is handed out when a worker
        is free for it; so one that was handed out has begun.

        Raises:
            JobError: Workers keep dying over the same job, or the scheduler is lost.
        """
        results: dict[int, Any] = {}
        for _attempt in range(_LOST_DATA_ATTEMPTS):
            missing = [i for i in range(len(jobs)) if i not in results]
            with _connected():
                self._run(
                    lambda i: self._client.submit(function, shared.future, jobs[i], pure=False), missing, results, until
                )
            if len(results) == len(jobs):
                return [results[i] for i in range(len(jobs))]
            log.warning("workers died with the data that they held; it is sent again")
            shared.future = self.share(shared.value).future
        raise JobError("Dask workers keep dying", remedy="Often memory ran out: fewer tuning.workers, or fewer rows.")

    def _run(
        self, submit: Callable[[int], Future], missing: Sequence[int], results: dict[int, Any], until: float | None
    ) -> None:
        """Run what is missing, in order; results of those whose data was lost stay missing."""
        from distributed import as_completed

        running: dict[str, int] = {}
        waiting = list(reversed(missing))
        width = len(missing) if until is None else max(1, sum(self._client.nthreads().values()))
        ended = as_completed()

        def hand_out() -> None:
            while waiting and len(running) < width:
                if until is not None and time.monotonic() > until and (running or results):
                    results.update(dict.fromkeys(waiting, NOT_BEGUN))
                    waiting.clear()
                    return
                position = waiting.pop()
                future = submit(position)
                running[future.key] = position
                ended.add(future)

        hand_out()
        for future in ended:
            self._collect(future, running.pop(future.key), results)
            hand_out()

    def _collect(self, future: Future, position: int, results: dict[int, Any]) -> None:
        from distributed import CancelledError, KilledWorker

        try:
            results[position] = future.result()
        except CancelledError as error:
            if getattr(error, "reason", None) == "scheduler-connection-lost":
                raise
        except KilledWorker as error:
            raise JobError(
                "a job killed several Dask workers", remedy="Often memory ran out: fewer tuning.workers, or fewer rows."
            ) from error
        except Exception as error:
            if future.status != "error":  # the job has not failed, but the way to it
                raise
            results[position] = error


@contextlib.contextmanager
def _connected() -> Iterator[None]:
    """A connection that is lost on the way is no fault of a job."""
    from distributed import CancelledError
    from distributed.client import ClosedClientError

    try:
        yield
    except (CancelledError, ClosedClientError, OSError, TimeoutError) as error:
        raise JobError(f"the connection to the Dask scheduler was lost: {error}") from error


@contextlib.contextmanager
def dask_workers(count: int, folder: Path, address: str | None = None) -> Iterator[DaskWorkers]:
    """Workers for as long as the context lasts.

    Args:
        count: Worker processes to start.
        folder: Where they keep what does not fit in memory.
        address: A scheduler to use instead.

    Raises:
        JobError: The scheduler does not answer or has no workers, or the cluster did not start.
    """
    import dask
    import distributed

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters comes back as an exception
    with dask.config.set({"distributed.scheduler.http.routes": []}), contextlib.ExitStack() as stack:
        if address is None:
            client = stack.enter_context(_local(count, folder))
            where = f"{count} local processes"
        else:
            client = stack.enter_context(_existing(address))
            where = f"{len(client.scheduler_info(n_workers=-1)['workers'])} workers at {address}"
        yield DaskWorkers(client, f"Dask {distributed.__version__}, {where} of one thread")


@contextlib.contextmanager
def _local(count: int, folder: Path) -> Iterator[Client]:
    from distributed import Client, LocalCluster

    try:
        cluster = LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            local_directory=folder,
            silence_logs=logging.CRITICAL,
            env=_ONE_THREAD,
        )
    except (RuntimeError, OSError, TimeoutError) as error:
        raise JobError(f"the Dask cluster did not start: {error}") from error
    with cluster, Client(cluster) as client:
        yield client


@contextlib.contextmanager
def _existing(address: str) -> Iterator[Client]:
    from distributed import Client

    try:
        client = Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise JobError(f"no Dask scheduler answers at {address}: {error}", remedy="See NORIA_DASK_ADDRESS.") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
        except TimeoutError as error:
            raise JobError(
                f"the Dask scheduler at {address} has no workers", remedy="Start one: dask worker."
            ) from error
        yield client
