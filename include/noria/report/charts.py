"""Where marks go in the pictures. Colours, fonts and dark mode are the style sheet's, sizes follow the screen."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from noria.pipeline import greater_is_better
from noria.records import Candidate, ChampionVersion, CurvePoint, Histogram, Metrics, Spread

_PADDING = 0.06
WIDTH, HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 30


@dataclass(frozen=True)
class Scale:
    """A linear scale over an interval."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Sequence[float]) -> Scale:
        """A scale that shows all values with some air at both ends."""
        low, high = min(values), max(values)
        air = (high - low) * _PADDING or abs(high) * _PADDING or 1.0
        return cls(low - air, high + air)

    def share(self, value: float) -> float:
        """Place of a value, 0 to 1; what lies outside is put at the edge."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def holds(self, value: float) -> bool:
        """Whether the value lies inside."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class ModelRow:
    """One line of the comparison: places in percent of the track."""

    name: str
    chosen: bool
    baseline: bool
    trials: int
    cv: Spread | None
    holdout: float | None
    metrics: Metrics
    """On the holdout."""
    band: tuple[float, float] | None
    mean: float | None
    dot: float | None
    beyond: bool
    """Too far from the others to be drawn at its place."""


def compare_models(candidate: Candidate) -> tuple[list[ModelRow], Scale]:
    """Contenders and baselines by the primary metric, best first.

    The scale is that of the contenders, so that a hopeless baseline does not press them into one point.
    """
    metric = candidate.primary_metric
    entries = [
        _Entry(c.name, c.trials, c.cv.get(metric), c.holdout, c.name in candidate.baselines)
        for c in candidate.contenders
    ]
    known = {entry.name for entry in entries}
    entries += [_Entry(name, 0, None, m, True) for name, m in candidate.baselines.items() if name not in known]
    shown = [e for e in entries if e.name != "dummy"] or entries
    scale = Scale.around([value for e in shown for value in e.extent(metric)] or [0.0, 1.0])
    rows = [_model_row(entry, metric, scale, chosen=entry.name == candidate.estimator) for entry in entries]

    def merit(row: ModelRow) -> float:
        value = row.cv.mean if row.cv else row.holdout
        if value is None:
            return float("inf")
        return -value if greater_is_better(metric) else value

    return sorted(rows, key=merit), scale


class _Entry(NamedTuple):
    name: str
    trials: int
    cv: Spread | None
    holdout: Metrics
    baseline: bool

    def extent(self, metric: str) -> list[float]:
        """What has to be visible of it."""
        values = [self.cv.mean - self.cv.sd, self.cv.mean + self.cv.sd] if self.cv else []
        return values + ([self.holdout[metric]] if metric in self.holdout else [])


def _model_row(entry: _Entry, metric: str, scale: Scale, *, chosen: bool) -> ModelRow:
    cv, holdout = entry.cv, entry.holdout.get(metric)
    return ModelRow(
        name=entry.name,
        chosen=chosen,
        baseline=entry.baseline,
        trials=entry.trials,
        cv=cv,
        holdout=holdout,
        metrics=entry.holdout,
        band=(100 * scale.share(cv.mean - cv.sd), 100 * scale.share(cv.mean + cv.sd)) if cv else None,
        mean=100 * scale.share(cv.mean) if cv else None,
        dot=100 * scale.share(holdout) if holdout is not None else None,
        beyond=not all(scale.holds(v) for v in entry.extent(metric)),
    )


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram, in the units of a drawing 100 wide and 100 high."""

    x: float
    width: float
    height: float
    title: str


def histogram_bars(histogram: Histogram, *, whole: bool) -> list[Bar]:
    """Bars of a histogram of whole or other numbers, the highest 100 high."""
    highest = max(histogram.counts, default=0) or 1
    width = 100 / max(1, len(histogram.counts))
    spans = [_span(low, high, whole=whole) for low, high in itertools.pairwise(histogram.edges)]
    return [
        Bar(i * width, width, 100 * count / highest, f"{span}: {count:,}")
        for i, (count, span) in enumerate(zip(histogram.counts, spans, strict=True))
    ]


def _span(low: float, high: float, *, whole: bool) -> str:
    if not whole:
        return f"{low:.4g} to {high:.4g}"
    return f"{low:g}" if high - low == 1 else f"{low:g} to {high - 1:g}"


@dataclass(frozen=True)
class Line:
    """A line with marks in a drawing of WIDTH times HEIGHT."""

    points: tuple[tuple[float, float, str, str], ...]
    """x, y, label under the axis, title."""
    path: str
    band: str
    ticks: tuple[tuple[float, str], ...]
    """y, label."""


def learning_curve(points: Sequence[CurvePoint], metric: str) -> Line | None:
    """The metric by share of the training rows, with its spread as a band."""
    found = [(p, p.metrics[metric]) for p in points if metric in p.metrics]
    if not found:
        return None
    scale = Scale.around([v for _, s in found for v in (s.mean - s.sd, s.mean + s.sd)])
    xs = _spread_out(len(found))
    marks = tuple(
        (x, _y(scale, s.mean), f"{p.share:.0%}", f"{p.rows:,} rows: {s.mean:.4g} ± {s.sd:.2g}")
        for x, (p, s) in zip(xs, found, strict=True)
    )
    upper = [(x, _y(scale, s.mean + s.sd)) for x, (_, s) in zip(xs, found, strict=True)]
    lower = [(x, _y(scale, s.mean - s.sd)) for x, (_, s) in zip(xs, found, strict=True)]
    band = _path(upper + lower[::-1]) + "Z" if len(found) > 1 else ""
    return Line(marks, _path([m[:2] for m in marks]), band, _ticks(scale))


def champion_line(history: Sequence[ChampionVersion], metric: str, most: int = 12) -> Line | None:
    """The metric of the last versions, the oldest first, as each had it when it was registered."""
    found = [(v, v.metrics[metric]) for v in reversed(history[:most]) if metric in v.metrics]
    if len(found) < 2:
        return None
    scale = Scale.around([value for _, value in found])
    marks = tuple(
        (x, _y(scale, value), f"v{v.version}", f"version {v.version}: {value:.4g}")
        for x, (v, value) in zip(_spread_out(len(found)), found, strict=True)
    )
    return Line(marks, _path([m[:2] for m in marks]), "", _ticks(scale))


def _spread_out(count: int) -> list[float]:
    inner = WIDTH - _LEFT - _RIGHT
    return [_LEFT + inner * (i + 0.5) / count for i in range(count)]


def _y(scale: Scale, value: float) -> float:
    return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - scale.share(value))


def _ticks(scale: Scale) -> tuple[tuple[float, str], ...]:
    values = [scale.low + (scale.high - scale.low) * share for share in (0.1, 0.5, 0.9)]
    return tuple((_y(scale, v), f"{v:.3g}") for v in values)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
