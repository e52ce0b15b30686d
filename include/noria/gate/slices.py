"""Whether the candidate is good for everybody: no declared group of rows may get much worse."""

from __future__ import annotations

import math

import numpy as np

from noria.gate.case import Case, Pair, take
from noria.gate.comparison import alpha_spent, differences
from noria.gate.influence import standard_error
from noria.gate.words import improvement, noise, told_apart
from noria.models.metrics import score
from noria.pipeline import Gate
from noria.pipeline.policy import Slice
from noria.records import Rule, SliceResult

MOST_SHOWN = 100
"""Slices of one column that a decision lists: those that fail, and the largest."""


def of(case: Case, policy: Gate) -> tuple[list[Rule], list[SliceResult]]:
    """One rule for each declared column, and what was found for each of its values."""
    if case.metrics is None:
        return [], []
    rules, results = [], []
    comparable = case.pair is not None and len(case.pair) >= policy.min_rows
    for declared in policy.slices:
        values = case.holdout.slices.get(declared.column)
        found = [] if values is None else _results(case, declared, values, policy.alpha)
        rules.append(_rule(case, declared, found if values is not None else None, comparable))
        results += _shown(found)
    return rules, results


def _results(case: Case, declared: Slice, values: np.ndarray, alpha: float) -> list[SliceResult]:
    rows = case.pair.rows if case.pair is not None else np.flatnonzero(case.unseen)
    here = values[rows].astype(str)
    groups = [(str(value), here == value) for value in np.unique(here)]
    if case.pair is not None:
        pair = case.pair.by_primary_metric()
        return [_compared(pair.take(mask), declared, value, alpha) for value, mask in groups]
    return [_alone(case, declared, value, rows[mask]) for value, mask in groups]


def _compared(pair: Pair, declared: Slice, value: str, alpha: float) -> SliceResult:
    metric = pair.problem.primary_metric
    ours, theirs = (metrics[metric] for metrics in pair.metrics)
    better = improvement(ours, theirs, metric)
    judged = len(pair) >= declared.min_rows and math.isfinite(better)
    low, high = _interval(pair, metric, better, alpha)
    return SliceResult(
        column=declared.column,
        value=value,
        rows=len(pair),
        candidate=ours,
        champion=theirs,
        improvement=better,
        low=low,
        high=high,
        margin=declared.margin,
        passed=not judged or better >= -declared.margin - noise(theirs),
        judged=judged,
    )


def _alone(case: Case, declared: Slice, value: str, rows: np.ndarray) -> SliceResult:
    said, found = case.challenger.predictions, math.nan
    if said is not None:
        found = score(case.holdout.problem, case.holdout.target[rows], take(said, rows))[case.metric]
    return SliceResult(
        column=declared.column,
        value=value,
        rows=len(rows),
        candidate=found,
        margin=declared.margin,
        passed=True,
        judged=False,
    )


def _interval(pair: Pair, metric: str, better: float, alpha: float) -> tuple[float | None, float | None]:
    from scipy import stats

    if not math.isfinite(better) or len(pair) < 2:
        return None, None
    reach = float(stats.t.isf(alpha_spent(alpha, 1), len(pair) - 1)) * standard_error(differences(pair, metric))
    return better - reach, better + reach


def _rule(case: Case, declared: Slice, results: list[SliceResult] | None, comparable: bool) -> Rule:
    column, margin, metric = declared.column, declared.margin, case.metric
    failed = [r for r in results or () if not r.passed]
    worst = min((r for r in results or () if r.judged and r.improvement is not None), key=_improvement, default=None)
    needed = f"on each value of {column} a {metric} that is at most {margin:g} worse than the champion's"
    if results is None:
        detail = f"the holdout says nothing of column {column}, which the policy asks for"
    elif failed:
        detail = "; ".join(_sentence(r, metric) for r in sorted(failed, key=_improvement)[:5])
        detail += f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
        detail += f": the policy allows {margin:g}"
    elif case.champion is None:
        detail = f"there is no champion yet to compare the slices by {column} with"
    elif not comparable:
        why = case.champion_unusable or "too few rows of the holdout are seen by neither model"
        whose = f"those of champion version {case.champion.version}"
        detail = f"the slices by {column} cannot be compared with {whose}: {why}"
    elif worst is None:
        detail = f"no value of {column} has the {declared.min_rows} rows that it takes to judge it"
    else:
        detail = f"worst group by {column}: {_sentence(worst, metric)}"
    passed = results is not None and not failed and (case.champion is None or comparable)
    return Rule(
        name=f"no slice by {column} worse by more than {margin:g}",
        kind="slice",
        passed=passed,
        required=declared.level == "required",
        detail=detail,
        value=worst.improvement if worst else None,
        limit=-margin,
        needed=None if passed else needed,
    )


def _improvement(result: SliceResult) -> float:
    return result.improvement if result.improvement is not None else math.inf


def _sentence(result: SliceResult, metric: str) -> str:
    better = _improvement(result)
    start = f"where {result.column} is {result.value} ({result.rows} rows), {metric} is"
    if result.champion is None or abs(better) <= noise(result.champion):
        return f"{start} the same ({result.candidate:.4g})"
    way = f"{abs(better):.4g} {'better' if better > 0 else 'worse'}"
    ours, theirs = told_apart(result.candidate, result.champion)
    return f"{start} {way} ({ours} against {theirs})"


def _shown(results: list[SliceResult]) -> list[SliceResult]:
    ordered = sorted(results, key=lambda r: (r.passed, -r.rows))[:MOST_SHOWN]
    return sorted(ordered, key=lambda r: r.value)
