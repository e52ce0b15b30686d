"""The promotion gate: decide(candidate, champion, policy) -> Decision. Pure: no I/O, no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

from noria.pipeline import Gate, Threshold, greater_is_better
from noria.records import Candidate, Decision, Metrics, Rule, Verdict

NOISE = 1e-9
"""Relative difference below which two metrics are equal: sums in another order differ by less."""


@dataclass(frozen=True)
class Champion:
    """The champion as the gate sees it.

    Attributes:
        version: Its version in the registry.
        metrics: Its metrics on the rows of the candidate's holdout that it has not seen; none if it cannot be compared.
        problem: Why it cannot be compared.
        shared_rows: How many these rows are, if it has seen others of the holdout.
        candidate_metrics: The candidate's metrics on the same rows, if it has seen others.
    """

    version: str
    metrics: Metrics | None = None
    problem: str | None = None
    shared_rows: int | None = None
    candidate_metrics: Metrics | None = None


def decide(candidate: Candidate, champion: Champion | None, policy: Gate) -> Decision:
    """Judge a candidate.

    Args:
        candidate: With its metrics and baselines on the holdout.
        champion: With its metrics on the same holdout, or what it has not seen of it; none if there is no champion yet.
        policy: Thresholds, margin and mode.

    Returns:
        `reject` if a required rule failed, `keep` if the candidate does not beat the champion by more than the margin,
        else `promote`.
    """
    metric = candidate.primary_metric
    required = [
        _finite(candidate),
        *(_threshold(candidate.metrics, threshold) for threshold in policy.thresholds),
        _beats_dummy(candidate, metric),
    ]
    better = _beats_champion(candidate, champion, metric, policy.margin)
    failed = [rule for rule in required if not rule.passed]
    verdict: Verdict = "reject" if failed else "promote" if better.passed else "keep"
    deciding = failed or [better]
    return Decision(
        verdict=verdict,
        rules=(*required, better),
        reasons=tuple(rule.detail for rule in deciding),
        candidate_metrics=candidate.metrics,
        champion_metrics=champion.metrics if champion else None,
        compared_rows=champion.shared_rows if champion else None,
        compared_metrics=champion.candidate_metrics if champion else None,
        previous_champion=champion.version if champion else None,
        champion_version=champion.version if champion else None,
        dry_run=policy.mode == "dry_run",
    )


def _finite(candidate: Candidate) -> Rule:
    broken = [f"{name} is {value}" for name, value in candidate.metrics.items() if not math.isfinite(value)]
    detail = ", ".join(broken) + " on the holdout" if broken else "every metric is a finite number"
    return Rule(name="finite metrics", passed=not broken, required=True, detail=detail)


def _threshold(metrics: Metrics, threshold: Threshold) -> Rule:
    name, value = threshold.metric, metrics.get(threshold.metric, math.nan)
    if threshold.min is not None:
        passed, rule = value >= threshold.min, f"at least {threshold.min:g}"
    else:
        passed, rule = threshold.max is not None and value <= threshold.max, f"at most {threshold.max:g}"
    detail = f"{name} {value:.4g} is {rule}" if passed else f"{name} {value:.4g} is not {rule}, the threshold"
    return Rule(name=f"{name} {rule}", passed=passed, required=True, detail=detail)


def _beats_dummy(candidate: Candidate, metric: str) -> Rule:
    value, dummy = candidate.metrics[metric], candidate.baselines["dummy"][metric]
    passed = _improvement(value, dummy, metric) > _noise(dummy)
    verb = "beats" if passed else "does not beat"
    detail = f"{metric} {value:.4g} {verb} the dummy baseline's {dummy:.4g}"
    return Rule(name="better than the dummy baseline", passed=passed, required=True, detail=detail)


def _beats_champion(candidate: Candidate, champion: Champion | None, metric: str, margin: float) -> Rule:
    value = ((champion and champion.candidate_metrics) or candidate.metrics)[metric]
    where = "the same holdout"
    if champion is not None and champion.shared_rows is not None:
        where = f"the {champion.shared_rows} holdout rows that neither has seen"
    passed = True
    if champion is None:
        detail = f"there is no champion yet; {metric} {value:.4g}"
    elif champion.metrics is None:
        detail = f"champion version {champion.version} cannot be compared: {champion.problem}"
    elif not math.isfinite(champion.metrics[metric]):
        detail = f"champion version {champion.version} has {metric} {champion.metrics[metric]} on {where}"
    else:
        rival = champion.metrics[metric]
        passed = _improvement(value, rival, metric) > margin + _noise(rival)
        by = f" by more than {margin:g}" if margin else ""
        verb = "beats" if passed else "does not beat"
        ours, theirs = _told_apart(value, rival)
        detail = f"{metric} {ours} {verb} champion version {champion.version}'s {theirs} on {where}{by}"
    return Rule(name="better than the champion", passed=passed, required=False, detail=detail)


def _improvement(value: float, rival: float, metric: str) -> float:
    """How much better `value` is, in the metric's own unit."""
    return value - rival if greater_is_better(metric) else rival - value


def _told_apart(value: float, rival: float) -> tuple[str, str]:
    """Both numbers with as many digits as it takes to see which is greater; four at least."""
    pairs = ((f"{value:.{digits}g}", f"{rival:.{digits}g}") for digits in range(4, 13))
    return next((pair for pair in pairs if pair[0] != pair[1]), (f"{value:.4g}", f"{rival:.4g}"))


def _noise(rival: float) -> float:
    return NOISE * max(1.0, abs(rival))
