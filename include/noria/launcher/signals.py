"""Signals that end the launcher, and moments in which they have to wait."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

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


class Interruption:
    """Somebody's wish that the launcher ends, which is kept until it is obeyed.

    It is raised as KeyboardInterrupt where the signal arrives. Python swallows that in a finalizer and in the
    callback of a weak reference, so whoever waits in a loop calls `check`, which raises it again.
    """

    def __init__(self) -> None:
        self._asked = False

    def watch(self) -> None:
        """Take the signals for itself; the second and later ones do nothing: stopping takes seconds."""
        for number in SIGNALS:
            signal.signal(number, self._ask)

    def check(self) -> None:
        """Raise KeyboardInterrupt if somebody has asked for the end."""
        if self._asked:
            raise KeyboardInterrupt

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._asked:
            self._asked = True
            raise KeyboardInterrupt
