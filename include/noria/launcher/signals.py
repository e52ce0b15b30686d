"""Signals that end the launcher, and moments in which they have to wait."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Let signals wait until the context ends.

    They are noted by handlers, not blocked by the system: a child would inherit the block and could not be ended.
    """
    waiting: list[int] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, lambda number, _frame: waiting.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for held in waiting:
        signal.raise_signal(held)
