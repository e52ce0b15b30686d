"""Candidate and champion on the same rows: how much better, and how much of it may be luck."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from noria.gate.case import Pair
from noria.gate.discordance import exact
from noria.gate.influence import influence
from noria.gate.luck import Luck, bootstrapped
from noria.gate.resampling import resample
from noria.gate.swapping import swapped
from noria.gate.words import improvement, noise
from noria.models.metrics import Predicted, positions
from noria.pipeline import Gate, greater_is_better
from noria.records import Comparison, Interval


def alpha_spent(alpha: float, look: int) -> float:
    """The part of `alpha` that the look with this number may spend; over all looks, however many, it adds up to alpha.

    The series of 1 / k² adds up to pi² / 6 (Basel problem).
    """
    return alpha * 6 / (math.pi**2 * look**2)


def compare(pair: Pair, policy: Gate, holdout_sha256: str, *, looks: int, leaked_rows: int) -> Comparison:
    """The two models in every metric of the pipeline.

    Args:
        pair: Their predictions of rows that neither has seen.
        policy: Margin, alpha and draws.
        holdout_sha256: Seeds the draws: the same evidence gives the same intervals.
        looks: How many other candidates were compared with this champion on these rows before.
        leaked_rows: How many rows of the holdout were left out.
    """
    spent = alpha_spent(policy.alpha, looks + 1)
    ours, theirs = pair.metrics
    known = [m for m in pair.problem.metrics if math.isfinite(ours[m]) and math.isfinite(theirs[m])]
    moved = {metric: differences(pair, metric) for metric in known}
    drawn = resample(pair, moved, policy.draws, holdout_sha256) if known else {}
    swaps_of, luck = swapped(pair, known, policy.draws, holdout_sha256), {}
    for metric in known:
        margin = policy.margin if metric == pair.problem.primary_metric else 0.0
        better = improvement(ours[metric], theirs[metric], metric)
        swaps = swaps_of.get(metric)
        luck[metric] = bootstrapped(better, moved[metric], drawn[metric], swaps, margin=margin, alpha=spent)
        if metric == "accuracy":
            luck[metric] = _exactly(pair, luck[metric], margin, spent)
    intervals = tuple(_interval(metric, ours[metric], theirs[metric], luck[metric], spent) for metric in known)
    return Comparison(
        rows=len(pair),
        leaked_rows=leaked_rows,
        alpha=policy.alpha,
        alpha_spent=spent,
        looks=looks + 1,
        draws=policy.draws,
        intervals=intervals,
        rows_needed=_rows_needed(intervals[0], policy.margin, len(pair)) if intervals else None,
    )


def differences(pair: Pair, metric: str) -> np.ndarray:
    """Influence of each of n rows on the improvement; the mean of them is 0."""
    moved = influence(pair.problem, metric, pair.target, pair.candidate)
    moved = moved - influence(pair.problem, metric, pair.target, pair.champion)
    result: np.ndarray = moved if greater_is_better(metric) else -moved
    return result


def _exactly(pair: Pair, drawn: Luck, margin: float, alpha: float) -> Luck:
    """The exact test; with a margin it takes the number of telling rows for certain, so the bootstrap has a say too."""
    if not isinstance(pair.candidate, Predicted) or not isinstance(pair.champion, Predicted):
        return drawn
    actual = positions(pair.problem, pair.target)
    ours, theirs = actual == pair.candidate.labels, actual == pair.champion.labels
    found = exact(int(np.sum(ours & ~theirs)), int(np.sum(theirs & ~ours)), len(pair), margin=margin, alpha=alpha)
    if margin == 0:
        return found
    return replace(
        found,
        low=min(found.low, drawn.low),
        high=max(found.high, drawn.high),
        p_value=max(found.p_value, drawn.p_value),
        detectable=max(found.detectable, drawn.detectable),
    )


def _interval(metric: str, ours: float, theirs: float, luck: Luck, alpha: float) -> Interval:
    equal = abs(luck.improvement) <= noise(theirs)
    return Interval(
        metric=metric,
        candidate=ours,
        champion=theirs,
        improvement=luck.improvement,
        low=luck.low,
        high=luck.high,
        confidence=1 - 2 * alpha,
        p_value=1.0 if equal else luck.p_value,
        method=luck.method,
        detectable=luck.detectable,
    )


def _rows_needed(interval: Interval, margin: float, count: int) -> int | None:
    """Rows that would show the observed improvement in 80 of 100 cases, where these do not."""
    seen = interval.improvement - margin
    if interval.low > margin or seen <= noise(interval.champion) or interval.detectable is None:
        return None
    return max(count + 1, math.ceil(count * ((interval.detectable - margin) / seen) ** 2))
