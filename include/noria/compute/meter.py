"""Metering of a process and its children."""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType

import psutil

from noria.records import Usage

_STEADY_ATTEMPTS = 5


class Meter:
    """Measure this process and all its descendants while the context lasts.

    CPU seconds are read from the operating system (/proc through psutil): of every living process of the tree, its own
    and those of the children it has waited for, so a child shorter than the sampling interval counts in full. What a
    process takes out of sight, when it dies without having been waited for, is kept as of its last sample.

    Args:
        interval_seconds: Time between two samples of memory and CPU.
    """

    def __init__(self, interval_seconds: float = 0.2) -> None:
        self._interval = interval_seconds
        self._process = psutil.Process()
        self._lost_cpu = 0.0
        self._last_cpu = 0.0
        self._peak_rss = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="meter")

    def __enter__(self) -> Meter:
        self._started = time.monotonic()
        self._sample()
        self._base_cpu = self._last_cpu
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        self._wall = time.monotonic() - self._started

    @property
    def usage(self) -> Usage:
        """What was used, once the context has ended."""
        return Usage(
            wall_seconds=round(self._wall, 3),
            cpu_seconds=round(self._last_cpu + self._lost_cpu - self._base_cpu, 3),
            peak_rss_bytes=self._peak_rss,
            vcpu_seconds=round(self._wall * available_cores(), 3),
        )

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            self._sample()

    def _sample(self) -> None:
        for _attempt in range(_STEADY_ATTEMPTS):
            tree = self._tree()
            rss, cpu = _read(tree)
            if set(tree) == set(self._tree()):  # else a child may be counted twice: itself, and as one waited for
                break
        self._lost_cpu += max(0.0, self._last_cpu - cpu)
        self._last_cpu = cpu
        self._peak_rss = max(self._peak_rss, rss)

    def _tree(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]


def available_cores() -> int:
    """Processor cores of this machine that this process may use; it holds them as long as it runs, busy or idle."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(tree: list[psutil.Process]) -> tuple[int, float]:
    """Memory of these processes, and CPU seconds of them and of the children they have waited for."""
    rss, cpu = 0, 0.0
    for process in tree:
        try:
            with process.oneshot():
                rss += process.memory_info().rss
                cpu += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return rss, cpu
