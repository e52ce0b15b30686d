"""Forks of the process that tests run in, whose children leave alone what other tests have left.

A child that collects garbage closes what the parent has open: connections to Spark's Java, whose lock a thread of the
parent may hold. The child has no such thread, and would wait for ever.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def garbage_kept() -> Iterator[None]:
    """Children that are forked within, and end within, collect nothing that was there before."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
