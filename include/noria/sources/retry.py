"""How often and how patiently a request is repeated."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Retry:
    """Exponential back-off with jitter.

    Attributes:
        attempts: Requests in all that may fail to bring anything; progress starts the count again.
        base_seconds: Wait before the second attempt; it doubles from then on.
        limit_seconds: Longest wait, also for a server that asks for one (Retry-After).
        connect_seconds, read_seconds: Time-outs of one request.
        sleep: Waits; replaced in tests.
    """

    attempts: int = 5
    base_seconds: float = 0.5
    limit_seconds: float = 30.0
    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    def wait_seconds(self, failures: int) -> float:
        """How long to wait after that many failures: between half of the doubled base and all of it."""
        full = min(self.limit_seconds, self.base_seconds * 2.0 ** (failures - 1))
        return full * random.uniform(0.5, 1.0)  # noqa: S311  jitter, not a secret
