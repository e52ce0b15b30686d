import resource
import subprocess
import sys
import time

import psutil
import pytest

from noria.compute import meter as meter_module
from noria.compute.meter import Meter

BURN = "import time; end = time.process_time() + {seconds}\nwhile time.process_time() < end: pass"


def burn(seconds: float) -> None:
    subprocess.run([sys.executable, "-c", BURN.format(seconds=seconds)], check=True)


def cpu_by_the_operating_system() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def test_cpu_of_waited_children_agrees_with_the_operating_system() -> None:
    before = cpu_by_the_operating_system()
    with Meter() as meter:
        burn(0.6)
        for _ in range(5):
            burn(0.02)  # shorter than the sampling interval
    assert meter.usage.cpu_seconds == pytest.approx(cpu_by_the_operating_system() - before, rel=0.05, abs=0.03)


def test_many_short_children_are_counted_once() -> None:
    before = cpu_by_the_operating_system()
    with Meter(interval_seconds=0.001) as meter:
        for _ in range(40):
            subprocess.run(["sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"], check=True)
    assert meter.usage.cpu_seconds == pytest.approx(cpu_by_the_operating_system() - before, rel=0.05, abs=0.03)


def test_a_child_that_is_waited_for_in_the_middle_of_a_sample_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen([sys.executable, "-c", BURN.format(seconds=0.5)])
    read = meter_module._read

    def wait_in_between(tree: list[psutil.Process]) -> tuple[int, float]:
        parent = read(tree[:1])
        child.wait()
        rest = read(tree[1:])
        return parent[0] + rest[0], parent[1] + rest[1]

    before = cpu_by_the_operating_system()
    with Meter(interval_seconds=60) as meter:
        time.sleep(1.0)
        meter._sample()  # the child is seen, and has not been waited for
        monkeypatch.setattr(meter_module, "_read", wait_in_between)
        meter._sample()
        monkeypatch.setattr(meter_module, "_read", read)
    assert meter.usage.cpu_seconds == pytest.approx(cpu_by_the_operating_system() - before, rel=0.1, abs=0.05)


def test_cpu_before_the_context_is_not_counted() -> None:
    burn(0.5)
    with Meter() as meter:
        pass
    assert meter.usage.cpu_seconds < 0.2


def test_a_grandchild_that_nobody_waits_for_is_counted() -> None:
    start = f"import os, subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {BURN.format(seconds=0.6)!r}])"
    keep_parent = start + "\nimport time; os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT); time.sleep(0.2)"
    with Meter(interval_seconds=0.05) as meter:
        subprocess.run([sys.executable, "-c", keep_parent], check=True)
    assert meter.usage.cpu_seconds > 0.5


def test_peak_memory_includes_children() -> None:
    with Meter(interval_seconds=0.05) as meter:
        subprocess.run([sys.executable, "-c", "b = bytearray(200_000_000); import time; time.sleep(0.4)"], check=True)
    assert meter.usage.peak_rss_bytes > 200_000_000


def test_wall_and_vcpu_seconds() -> None:
    with Meter() as meter:
        time.sleep(0.3)
    assert 0.3 <= meter.usage.wall_seconds < 1
    assert meter.usage.vcpu_seconds >= meter.usage.wall_seconds
