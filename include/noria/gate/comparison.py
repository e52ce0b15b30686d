"""Candidate and champion on the same rows: how much better, and how much of it may be luck."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from noria.gate.case import Pair
from noria.gate.influence import influence, standard_error
from noria.gate.words import improvement, noise
from noria.pipeline import Gate, greater_is_better
from noria.records import Comparison, Interval

POWER = 0.8


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
    intervals = []
    for position, metric in enumerate(pair.problem.metrics):
        if not (math.isfinite(ours[metric]) and math.isfinite(theirs[metric])):
            continue
        margin = policy.margin if position == 0 else 0.0
        intervals.append(_student(pair, metric, ours[metric], theirs[metric], margin, spent))
    return Comparison(
        rows=len(pair),
        leaked_rows=leaked_rows,
        alpha=policy.alpha,
        alpha_spent=spent,
        looks=looks + 1,
        draws=policy.draws,
        intervals=tuple(intervals),
        rows_needed=_rows_needed(intervals[0], policy.margin, len(pair)) if intervals else None,
    )


def differences(pair: Pair, metric: str) -> np.ndarray:
    """Influence of each row on the improvement; the mean of them is 0."""
    moved = influence(pair.problem, metric, pair.target, pair.candidate)
    moved = moved - influence(pair.problem, metric, pair.target, pair.champion)
    return moved if greater_is_better(metric) else -moved


def _student(pair: Pair, metric: str, ours: float, theirs: float, margin: float, alpha: float) -> Interval:
    better, count = improvement(ours, theirs, metric), len(pair)
    error = standard_error(differences(pair, metric))
    reach = float(stats.t.isf(alpha, count - 1)) * error
    if abs(better) <= noise(theirs):
        p_value = 1.0
    else:
        p_value = float(stats.t.sf((better - margin) / error, count - 1)) if error > 0 else float(better <= margin)
    return Interval(
        metric=metric,
        candidate=ours,
        champion=theirs,
        improvement=better,
        low=better - reach,
        high=better + reach,
        confidence=1 - 2 * alpha,
        p_value=p_value,
        method="Student's t on each row's influence",
        detectable=margin + reach + float(stats.norm.isf(1 - POWER)) * error,
    )


def _rows_needed(interval: Interval, margin: float, count: int) -> int | None:
    """Rows that would show the observed improvement in 80 of 100 cases, where these do not."""
    seen = interval.improvement - margin
    if interval.low > margin or seen <= noise(interval.champion) or interval.detectable is None:
        return None
    return max(count + 1, math.ceil(count * ((interval.detectable - margin) / seen) ** 2))
