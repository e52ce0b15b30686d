"""A job that does nothing but work, until its parent is cut off."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def busy_until(error: type[BaseException], folder: Path, seconds: float = 0.15) -> Iterator[None]:
    """Jobs work for ever and say nothing, until an error comes out of what this process does, as a time limit does.

    Args:
        error: What is raised.
        folder: Where the job's program is put.
        seconds: How long until then.
    """
    busy = folder / "busy"
    busy.write_text("#!/bin/sh\nwhile :; do :; done\n")
    busy.chmod(0o700)

    def end(_number: int, _frame: object) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "executable", str(busy))
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
