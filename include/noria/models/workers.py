"""What models ask of the place where they run: functions applied to shared data, on many processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Workers(Protocol):
    """Processes that share data and run functions of this library."""

    def share(self, value: Any) -> Any:
        """Send a value to all of them, once; what comes back stands for it in `map`."""

    def map(self, function: Callable[[Any, Any], Any], shared: Any, jobs: Sequence[Any]) -> list[Any]:
        """`function(value, job)` for each job; results, or the exceptions they raised, in the order of the jobs."""
