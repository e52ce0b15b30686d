"""What models ask of the place where they run: functions applied to shared data, on many processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

NOT_BEGUN = "not begun"
"""What `map` has in the place of a job whose time was over before it began."""


class Workers(Protocol):
    """Processes that share data and run functions of this library."""

    @property
    def cores(self) -> int:
        """Processor cores of all the machines that they run on, now."""

    def share(self, value: Any) -> Any:
        """Send a value to all of them, once; what comes back stands for it in `map`."""

    def map(
        self, function: Callable[[Any, Any], Any], shared: Any, jobs: Sequence[Any], *, until: float | None = None
    ) -> list[Any]:
        """`function(value, job)` for each job; results, or the exceptions they raised, in the order of the jobs.

        Args:
            function: What is done.
            shared: What `share` has returned.
            jobs: They begin in this order.
            until: By `time.monotonic()`; jobs that have not begun by then are `NOT_BEGUN`, but for the first one. Those
                that have begun run to their end.
        """
