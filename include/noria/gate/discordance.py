"""The exact test for accuracy: of the rows where only one of two models is right, how many go to the candidate?

McNemar's test in its exact form: if the models are equally good, each such row is a toss of a coin. Where the candidate
has to be better by a margin, the coin is bent by it. The bounds are those of Clopper and Pearson (1934), given how many
such rows there are.
"""

from __future__ import annotations

import math

import numpy as np

from noria.gate.luck import POWER, Luck

_POINTS = 200


def exact(won: int, lost: int, rows: int, *, margin: float, alpha: float) -> Luck:
    """What the rows where only one model is right say of the improvement in accuracy.

    Args:
        won: Rows where only the candidate is right.
        lost: Rows where only the champion is right.
        rows: All rows.
        margin: What the improvement has to exceed.
        alpha: One-sided chance of error.
    """
    from scipy import stats

    split = won + lost
    low = float(stats.beta.ppf(alpha, won, lost + 1)) if won else 0.0
    high = float(stats.beta.isf(alpha, won + 1, lost)) if lost else 1.0
    return Luck(
        improvement=(won - lost) / rows,
        low=split / rows * (2 * low - 1),
        high=split / rows * (2 * high - 1),
        p_value=float(stats.binom.sf(won - 1, split, _coin(margin, split / rows))) if split else 1.0,
        detectable=_detectable(split / rows, rows, margin, alpha),
        method="exact test on the rows where only one model is right (McNemar)",
    )


def _coin(improvement: float, share: float) -> float:
    """Chance that a row that only one model gets right is the candidate's; `share` of all rows are such."""
    return min(1.0, 0.5 * (1 + improvement / share)) if share > 0 else 1.0


def _detectable(share: float, rows: int, margin: float, alpha: float) -> float:
    """The smallest improvement with the power wanted; 1 where none has it."""
    low, high = margin, 1.0
    if _power(high, share, rows, margin, alpha) < POWER:
        return high
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if _power(middle, share, rows, margin, alpha) >= POWER else (middle, high)
    return high


def _power(improvement: float, share: float, rows: int, margin: float, alpha: float) -> float:
    """Chance that the test shows a true improvement, where about `share` of the rows tell the models apart."""
    from scipy import stats

    share = max(share, improvement)
    reach = 6 * math.sqrt(rows * share * (1 - share)) + 1
    first, last = max(0, int(rows * share - reach)), min(rows, math.ceil(rows * share + reach))
    splits = np.unique(np.linspace(first, last, _POINTS).astype(int))
    likely = stats.binom.pmf(splits, rows, share)
    bent = np.clip(0.5 * (1 + margin * rows / np.maximum(splits, 1)), 0, 1)
    least = stats.binom.isf(alpha, splits, bent) + 1  # fewer rows won leave a chance of error above alpha
    shown = stats.binom.sf(least - 1, splits, _coin(improvement, share))
    return float(np.sum(likely * shown) / np.sum(likely))
