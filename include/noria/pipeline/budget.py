"""What a pipeline may cost, as pipeline.yaml declares it; in the currency of the price sheet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from noria.pipeline.base import Location, Model, repeated

Money = Annotated[float, Field(gt=0, allow_inf_nan=False)]
WHEN_EXCEEDED = ("warn", "approve", "stop")
"""The mildest first."""


class Exceeding(Model):
    """What happens to a run whose estimate breaks a bound."""

    when_exceeded: Literal["warn", "approve", "stop"] = Field(
        "warn",
        description="What becomes of a run whose estimate breaks the budget, before its first job: a mail, a question "
        "to people, or its end.",
    )
    approvers: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="Names of Airflow users who may let a run exceed; default: everyone who may act on the DAG."
    )
    timeout_hours: float = Field(
        24, gt=0, le=24 * 30, description="How long people are waited for; then the run is stopped."
    )

    @property
    def is_bounded(self) -> bool:
        """Whether there is any bound."""
        return any(True for _ in _bounds(self))


class Budget(Exceeding):
    """Bounds on a pipeline's cost, and what happens to a run whose estimate breaks one."""

    per_run: Money | None = Field(None, description="The most that one run may cost.")
    per_day: Money | None = Field(None, description="The most that all runs of a day (UTC) may cost.")
    per_month: Money | None = Field(None, description="The most that all runs of a calendar month (UTC) may cost.")


def contradictions(budget: Exceeding) -> Iterator[tuple[Location, str]]:
    """What cannot be meant: a run that may cost more than its day, a day more than its month."""
    yield from repeated(("approvers",), budget.approvers)
    for (key, smaller), (longer, larger) in itertools.pairwise(_bounds(budget)):
        if smaller > larger:
            yield (key,), f"{smaller:g} is more than {longer} allows ({larger:g})"


def _bounds(budget: Exceeding) -> Iterator[tuple[str, float]]:
    """Those that are set, the shortest period first."""
    for key in ("per_run", "per_day", "per_month"):
        if (bound := getattr(budget, key, None)) is not None:
            yield key, bound
