"""Where marks go in the pictures of the card: in percent of a track, so that they fit any width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from noria.records import Interval, Rule, SliceResult
from noria.report.charts import Scale
from noria.report.wording import alike

_AIR = 1.12
Outcome = Literal["better", "unclear", "worse", "same", "undefined"]


@dataclass(frozen=True)
class Gauge:
    """A rule's value as a bar from zero, and its limit as a line."""

    start: float
    width: float
    limit: float


def gauge(rule: Rule) -> Gauge | None:
    """The picture of a rule; none where it has no two numbers, or where zero means nothing, as with a clock."""
    if (
        rule.kind == "clock"
        or rule.value is None
        or rule.limit is None
        or not (math.isfinite(rule.value) and math.isfinite(rule.limit))
    ):
        return None
    low, high = min(0.0, rule.value, rule.limit), max(0.0, rule.value, rule.limit)
    if low == high:
        return None
    scale = Scale(low * _AIR, high * _AIR)
    zero, value = 100 * scale.share(0), 100 * scale.share(rule.value)
    return Gauge(min(zero, value), abs(value - zero), 100 * scale.share(rule.limit))


@dataclass(frozen=True)
class ForestRow:
    """One metric's improvement with its interval; zero is at 50 in every row, each row has a scale of its own."""

    interval: Interval
    outcome: Outcome
    low: float
    high: float
    point: float
    detectable: float | None
    margin: float | None
    """Of the primary metric alone."""


def forest(intervals: Sequence[Interval], metric: str, margin: float) -> list[ForestRow]:
    """A row for each interval, in their order."""
    return [_forest_row(i, margin if i.metric == metric else 0.0) for i in intervals]


def _forest_row(interval: Interval, margin: float) -> ForestRow:
    ends = (interval.low, interval.high, interval.improvement, interval.detectable or 0.0, margin)
    reach = max((abs(v) for v in ends if math.isfinite(v)), default=0.0) * _AIR or 1.0
    scale = Scale(-reach, reach)
    detectable = interval.detectable
    return ForestRow(
        interval=interval,
        outcome=_outcome(interval, margin),
        low=100 * scale.share(interval.low),
        high=100 * scale.share(interval.high),
        point=100 * scale.share(interval.improvement),
        detectable=100 * scale.share(detectable) if detectable and math.isfinite(detectable) else None,
        margin=100 * scale.share(margin) if margin else None,
    )


def _outcome(interval: Interval, margin: float) -> Outcome:
    if not math.isfinite(interval.improvement):
        return "undefined"
    if alike(interval):
        return "same"
    if interval.low > margin:
        return "better"
    return "worse" if interval.high < 0 else "unclear"


@dataclass(frozen=True)
class SliceRow:
    """Champion and candidate on one group of rows; all rows of the chart are on one scale."""

    result: SliceResult
    candidate: float
    champion: float | None
    beyond: bool
    """Too far from the others to be drawn at its place, or no number."""

    @property
    def faint(self) -> bool:
        """Whether it is only shown."""
        return not self.result.judged and self.result.champion is not None

    @property
    def failed(self) -> bool:
        """Whether the candidate is too much worse there."""
        return self.result.judged and not self.result.passed

    @property
    def span(self) -> tuple[float, float]:
        """Start and width of the line between the two."""
        other = self.candidate if self.champion is None else self.champion
        return min(self.candidate, other), abs(self.candidate - other)


def slice_rows(slices: Sequence[SliceResult], overall: Interval | None) -> tuple[list[SliceRow], Scale | None]:
    """A row for each slice, those that failed first, and their scale.

    The scale is that of the slices that are judged, so that no tiny one presses it.

    Args:
        slices: In the order of the decision.
        overall: The primary metric on all rows, which the scale shows as well.
    """
    slices = sorted(slices, key=lambda s: s.passed or not s.judged)
    shown = [s for s in slices if s.judged] or slices
    values = [v for s in shown for v in (s.candidate, s.champion) if v is not None]
    values += [overall.candidate, overall.champion] if overall else []
    finite = [v for v in values if math.isfinite(v)]
    if not slices or not finite:
        return [_slice_row(s, Scale(0, 1), beyond=True) for s in slices], None
    scale = Scale.around(finite)
    return [_slice_row(s, scale, beyond=not _fits(s, scale)) for s in slices], scale


def _fits(result: SliceResult, scale: Scale) -> bool:
    return scale.holds(result.candidate) and (result.champion is None or scale.holds(result.champion))


def _slice_row(result: SliceResult, scale: Scale, *, beyond: bool) -> SliceRow:
    champion = None if result.champion is None else 100 * scale.share(result.champion)
    return SliceRow(result, 100 * scale.share(result.candidate), champion, beyond)
