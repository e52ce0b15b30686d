"""Metering of a process and its children."""

from __future__ import annotations

import os
import resource
import threading
import time
from pathlib import Path
from types import TracebackType

import psutil

from noria.records import Usage

_STEADY_ATTEMPTS = 5


class Meter:
    """Measure this process and all its descendants while the context lasts.

    CPU seconds are those of the operating system: of this process and the children it has waited for to the
    microsecond (getrusage), so a child shorter than the sampling interval counts in full; of every other living process
    of the tree, and of the children that those have waited for, to the clock tick (/proc through psutil). What a
    process takes out of sight, when it dies without having been waited for, is kept as of its last sample.

    Args:
        whole_process: Count from the start of this process, with the interpreter's own start and all imports; else
            from the start of the context, without processes that were there before.
        interval_seconds: Time between two samples of memory and CPU.
    """

    def __init__(self, *, whole_process: bool = False, interval_seconds: float = 0.2) -> None:
        self._whole, self._interval = whole_process, interval_seconds
        self._process = psutil.Process()
        self._others: frozenset[psutil.Process] = frozenset()
        self._lost_cpu = 0.0
        self._last_cpu = 0.0
        self._base_cpu = 0.0
        self._rss, self._peak_rss = 0, 0
        self._byte_seconds = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="meter")

    def __enter__(self) -> Meter:
        self._started = self._sampled = time.monotonic()
        if self._whole:
            self._started -= _age_seconds()
        else:
            self._others = frozenset(self._process.children(recursive=True))
        self._sample()
        if self._whole:  # memory has grown since the process began, at what pace is not known
            self._byte_seconds = self._rss * (self._sampled - self._started) / 2
        else:
            self._base_cpu = self._last_cpu
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        self._wall = self._sampled - self._started

    @property
    def usage(self) -> Usage:
        """What was used, once the context has ended."""
        return Usage(
            wall_seconds=round(self._wall, 3),
            cpu_seconds=round(self._last_cpu + self._lost_cpu - self._base_cpu, 3),
            peak_rss_bytes=self._peak_rss,
            vcpu_seconds=round(self._wall * available_cores(), 3),
            memory_byte_seconds=round(self._byte_seconds),
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
        now = time.monotonic()
        self._byte_seconds += (self._rss + rss) / 2 * (now - self._sampled)
        self._rss, self._sampled = rss, now
        self._peak_rss = max(self._peak_rss, rss)

    def _tree(self) -> list[psutil.Process]:
        children = self._process.children(recursive=True)
        return [self._process, *(child for child in children if child not in self._others)]


def available_cores() -> int:
    """Processor cores of this machine that this process may use; it holds them as long as it runs, busy or idle."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _age_seconds() -> float:
    """How long ago this process began. On Linux psutil counts from a boot time in whole seconds, up to one off."""
    try:
        since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        began = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (AttributeError, OSError):  # not Linux
        return max(0.0, time.time() - psutil.Process().create_time())
    return max(0.0, since_boot - int(began) / os.sysconf("SC_CLK_TCK"))


def _read(tree: list[psutil.Process]) -> tuple[int, float]:
    """Memory of these processes, and CPU seconds of them and of the children they have waited for."""
    rss, cpu = 0, 0.0
    for process in tree:
        try:
            with process.oneshot():
                rss += process.memory_info().rss
                cpu += own_cpu_seconds() if process.pid == os.getpid() else sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return rss, cpu


def own_cpu_seconds() -> float:
    """Of this process since its start, and of the children that it has waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)
