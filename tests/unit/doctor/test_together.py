"""Checks that hang, break or follow from another one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from noria.doctor.finding import Finding, Verdict
from noria.doctor.together import Check, is_waiting, together
from noria.errors import AccessError, InputError


def well() -> Verdict:
    return "ok", "fine", ""


def ill() -> Verdict:
    raise AccessError("no", remedy="Sign in.")


def broken() -> Verdict:
    raise KeyError("AccountKey=c2lnbmVk; is missing")


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_all_run_at_once_in_their_order() -> None:
    ready = threading.Barrier(3, timeout=5)  # which nobody passes alone

    def meet() -> Verdict:
        ready.wait()
        return well()

    findings = together([Check(name, name, meet) for name in "abc"], seconds=10)
    assert findings == [Finding(name, "ok", "fine") for name in "abc"]


def test_one_that_hangs_is_told_in_time(hang: threading.Event) -> None:
    def wait() -> Verdict:
        hang.wait()
        return well()

    started = time.monotonic()
    slow, fast = together([Check("slow", "the vault", wait), Check("fast", "x", well)], seconds=0.3)
    assert time.monotonic() - started < 2
    assert (slow.status, slow.detail) == ("fail", "the vault: no answer within 0 s")
    assert slow.remedy
    assert fast.status == "ok"
    assert is_waiting()
    hang.set()
    for thread in threading.enumerate():  # those of other tests may wait for minutes
        if thread.name.endswith(": slow"):
            thread.join(5)
            assert not thread.is_alive()


def test_one_that_breaks_takes_no_other_with_it_and_shows_no_secret() -> None:
    first, second = together([Check("a", "the vault", broken), Check("b", "x", well)], seconds=5)
    assert first.status == "fail" and "the vault: KeyError" in first.detail and first.remedy
    assert "c2lnbmVk" not in first.detail
    assert second.status == "ok"


def test_one_cause_is_told_once() -> None:
    checks = [
        Check("identity", "i", ill),
        Check("lake", "the lake", ill, ("identity",)),
        Check("lock", "the lock", well, ("identity", "lake")),
        Check("pool", "the pool", ill),
    ]
    identity, lake, lock, pool = together(checks, seconds=5)
    assert (identity.detail, identity.remedy) == ("no.", "Sign in.")
    assert (lake.status, lake.detail, lake.remedy) == (
        "fail",
        "the lake: not known, see identity",
        "Mend identity first.",
    )
    assert lock.status == "ok", "what is well is told, whatever it should depend on"
    assert pool.detail == "no."


def test_our_errors_and_the_systems_are_findings() -> None:
    def refuse() -> Verdict:
        raise InputError("got x", expected="y", remedy="Do z.")

    def fail() -> Verdict:
        raise PermissionError(13, "Permission denied", "/there")

    ours, systems = together([Check("a", "a", refuse), Check("b", "b", fail)], seconds=5)
    assert ours == Finding("a", "fail", "got x; expected y.", "Do z.")
    assert "/there" in systems.detail and systems.remedy
