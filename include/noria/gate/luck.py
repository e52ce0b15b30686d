"""How far luck alone goes: bounds of an improvement, the chance of error and the power, from bootstrap draws.

Several ways lead to an interval, and the widest counts: the percentiles of the exact improvements, which know how bent
the metric is; bootstrap-t on the rows' influences, which knows how uncertain the standard error of few rows is and that
errors are skewed; and swapping the models' answers, which is right even where they differ on a handful of rows. Each
alone is too bold somewhere.
Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 12 and 13.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from noria.gate.influence import standard_error
from noria.gate.resampling import Draws

POWER = 0.8
_TAIL_DRAWS = 20
"""Draws that a quantile rests on at least; beyond it the tail goes on as that of Student's t does."""


@dataclass(frozen=True)
class Luck:
    """What is known of an improvement.

    Attributes:
        improvement: Found on the rows.
        low: Bound below it, at a one-sided chance of error.
        high: Bound above it, at the same chance.
        p_value: Chance to find this or more where the true improvement is no more than the margin.
        detectable: The smallest true improvement that these rows show in 80 of 100 cases.
        method: For people.
    """

    improvement: float
    low: float
    high: float
    p_value: float
    detectable: float
    method: str


def bootstrapped(
    improvement: float, influences: np.ndarray, draws: Draws, swapped: np.ndarray | None, *, margin: float, alpha: float
) -> Luck:
    """What bootstrap draws say of an improvement.

    Args:
        improvement: Found on the rows.
        influences: Of each of n rows on it.
        draws: Of the rows.
        swapped: The improvement where the models' answers are swapped at random, if that was done.
        margin: What the improvement has to exceed.
        alpha: One-sided chance of error.
    """
    from scipy import stats

    freedom, error = len(influences) - 1, standard_error(influences)
    if not math.isfinite(error):
        return _nothing(improvement)
    moves = [draws.improvements - improvement] if len(draws.improvements) >= _TAIL_DRAWS else []
    swaps = [] if swapped is None else [swapped]
    below = [(draws.statistics, error), *((-values, 1.0) for values in moves), *((values, 1.0) for values in swaps)]
    above = [(-draws.statistics, error), *((values, 1.0) for values in moves), *((-values, 1.0) for values in swaps)]
    down = max(_quantile(values, alpha, freedom) * unit for values, unit in below)
    up = max(_quantile(values, alpha, freedom) * unit for values, unit in above)
    ahead = improvement - margin
    p_value = max(_chance(values, ahead / unit, freedom) for values, unit in below if unit > 0)
    return Luck(
        improvement=improvement,
        low=improvement - down,
        high=improvement + up,
        p_value=p_value,
        detectable=margin + down + float(stats.t.isf(1 - POWER, freedom)) * error,
        method="paired bootstrap" + (", and the models' answers swapped at random" if swaps else ""),
    )


def _nothing(improvement: float) -> Luck:
    """What is known where the numbers are too large to compute with."""
    return Luck(improvement, -math.inf, math.inf, 1.0, math.inf, "none: the numbers are too large")


def _quantile(values: np.ndarray, alpha: float, freedom: int) -> float:
    """What a share `alpha` of the values exceeds, at least 0."""
    from scipy import stats

    anchor, share = _anchor(values)
    if alpha < share:
        return anchor * float(stats.t.isf(alpha, freedom) / stats.t.isf(share, freedom))
    place = int(alpha * (len(values) + 1))
    return max(0.0, float(np.partition(values, -place)[-place]))


def _chance(values: np.ndarray, least: float, freedom: int) -> float:
    """Share of values that reach `least`; its inverse, at every alpha, is `_quantile`."""
    from scipy import stats

    count = int(np.count_nonzero(values >= least))
    share = (1 + count) / (len(values) + 1)
    anchor, tail = _anchor(values)
    if share > tail or least <= anchor:
        return share
    if anchor <= 0:  # luck moves nothing
        return share if count else 0.0
    return float(stats.t.sf(least / anchor * stats.t.isf(tail, freedom), freedom))


def _anchor(values: np.ndarray) -> tuple[float, float]:
    """The outermost value that enough draws stand behind, and the share of values that reach it."""
    count = min(_TAIL_DRAWS, max(1, len(values) // 4))
    return max(0.0, float(np.partition(values, -count)[-count])), count / (len(values) + 1)
