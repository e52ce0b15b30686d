"""Numbers as the gate's sentences show them."""

from __future__ import annotations

from datetime import timedelta

from noria.pipeline import greater_is_better

NOISE = 1e-9
"""Relative difference below which two metrics are equal: sums in another order differ by less."""


def improvement(value: float, rival: float, metric: str) -> float:
    """How much better `value` is, in the metric's own unit."""
    return value - rival if greater_is_better(metric) else rival - value


def noise(value: float) -> float:
    """A difference that is none, in the unit of `value`."""
    return NOISE * max(1.0, abs(value))


def told_apart(value: float, rival: float) -> tuple[str, str]:
    """Both numbers with as many digits as it takes to see which is greater; four at least."""
    pairs = ((f"{value:.{digits}g}", f"{rival:.{digits}g}") for digits in range(4, 13))
    return next((pair for pair in pairs if pair[0] != pair[1]), (f"{value:.4g}", f"{rival:.4g}"))


def rows(count: int, of: str = "") -> str:
    """1 row, 2 rows; with the kind of rows in front of the word if there is one."""
    return f"{count} {of + ' ' if of else ''}row{'' if count == 1 else 's'}"


def duration(span: timedelta) -> str:
    """Minutes, hours or days: 12 minutes, 3.5 hours, 9 days."""
    minutes = max(0.0, span.total_seconds()) / 60
    for least, unit in ((1440 * 2, "day"), (120, "hour")):
        if minutes >= least:
            count = f"{minutes / (1440 if unit == 'day' else 60):.3g}"
            return f"{count} {unit}s"
    return f"{minutes:.0f} minute{'' if round(minutes) == 1 else 's'}"
