"""Metering of a process and its children."""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType

import psutil

from noria.records import Usage


class Meter:
    """Measure this process and all its descendants while the context lasts.

    CPU seconds are the sum over every process that was seen, each at its last sight; a child that lives shorter than
    the sampling interval is counted through its parent once it was waited for. Source: /proc through psutil.
    """

    def __init__(self, interval_seconds: float = 0.2) -> None:
        self._interval = interval_seconds
        self._process = psutil.Process()
        self._cpu: dict[tuple[int, float], float] = {}
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="meter")

    def __enter__(self) -> Meter:
        self._started = time.monotonic()
        self._base = self._own_cpu()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sample()
        self._stop.set()
        self._thread.join()
        self._wall = time.monotonic() - self._started

    @property
    def usage(self) -> Usage:
        """What was used, once the context has ended."""
        own = self._own_cpu() - self._base
        waited = os.times()
        reaped = waited.children_user + waited.children_system
        cpu = own + max(reaped, sum(self._cpu.values()))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return Usage(
            wall_seconds=round(self._wall, 3),
            cpu_seconds=round(cpu, 3),
            peak_rss_bytes=self._peak,
            vcpu_seconds=round(self._wall * cores, 3),
        )

    def _own_cpu(self) -> float:
        times = os.times()
        return times.user + times.system

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            self._sample()

    def _sample(self) -> None:
        total = 0
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                with process.oneshot():
                    total += process.memory_info().rss
                    if process.pid != self._process.pid:
                        times = process.cpu_times()
                        self._cpu[process.pid, process.create_time()] = times.user + times.system
            except psutil.Error:
                continue
        self._peak = max(self._peak, total)
