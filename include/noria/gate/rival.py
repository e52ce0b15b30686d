"""Whether the candidate is better than the champion: by more than the margin, and by more than luck."""

from __future__ import annotations

import math

from noria.gate.case import Case
from noria.gate.comparison import compare
from noria.gate.words import noise, told_apart
from noria.pipeline import Gate
from noria.records import Comparison, Interval, Rule
from noria.records.figures import ordinal, percent


def of(case: Case, policy: Gate) -> tuple[Rule, Comparison | None]:
    """The rule, with the comparison that it rests on where there is one."""
    if case.champion is None:
        value = (case.metrics or {}).get(case.metric)
        said = f"; {case.metric} {value:.4g}" if value is not None else ""
        return _rule(policy, passed=True, detail=f"there is no champion yet{said}"), None
    who = f"champion version {case.champion.version}"
    if case.champion_unusable:
        return _not_compared(policy, f"{who} cannot be compared: {case.champion_unusable}"), None
    if case.metrics is None:
        return _not_compared(policy, f"{who} was not compared, since the candidate gave nothing to compare"), None
    rows, least, whole = int(case.shared.sum()), policy.min_rows, len(case.holdout)
    if case.pair is None or rows < least:
        detail = f"{who} cannot be compared: only {rows} of {whole} holdout rows are seen by neither model"
        return _not_compared(policy, detail, f"{least} rows that neither has seen"), None
    comparison = compare(
        case.pair, policy, case.holdout.sha256, looks=case.circumstances.looks, leaked_rows=whole - rows
    )
    found = next((i for i in comparison.intervals if i.metric == case.metric), None)
    if found is None:
        ours, theirs = (metrics[case.metric] for metrics in case.pair.metrics)
        detail = f"{who} cannot be compared: {case.metric} is {theirs} on {_where(comparison)}"
        if not math.isfinite(ours):
            detail = f"{who} cannot be compared: the candidate's {case.metric} is {ours} on {_where(comparison)}"
        return _not_compared(policy, detail, f"rows on which {case.metric} is a number"), comparison
    return _judged(case, policy, comparison, found, who), comparison


def _judged(case: Case, policy: Gate, comparison: Comparison, found: Interval, who: str) -> Rule:
    margin = policy.margin
    ahead = found.improvement - margin > noise(found.champion)
    passed = ahead and found.low > margin and found.p_value <= comparison.alpha_spent
    ours, theirs = told_apart(found.candidate, found.champion)
    if found.improvement == found.low == found.high == 0:
        detail = f"{found.metric} {ours}: the candidate answers just as {who} does on {_where(comparison)}"
        needed = "a model that answers otherwise, and better"
        return _rule(policy, passed=False, detail=detail, found=found, needed=needed)
    verb = "beats" if passed else "does not beat"
    by = f" by more than {margin:g}" if margin else ""
    detail = (
        f"{found.metric} {ours} {verb} {who}'s {theirs} on {_where(comparison)}{by}: "
        f"better by {found.improvement:.3g}, "
        f"with {100 * found.confidence:.3g} % confidence by {found.low:.3g} to {found.high:.3g}"
    )
    if not passed:
        detail += f"; {_why(found, comparison, margin, ahead=ahead, own_split=case.circumstances.own_split)}"
    return _rule(policy, passed=passed, detail=detail, found=found, needed=_needed(found, comparison, margin))


def _why(found: Interval, comparison: Comparison, margin: float, *, ahead: bool, own_split: bool) -> str:
    if not ahead:
        return (
            f"it is not ahead by more than the margin of {margin:g}"
            if margin and found.improvement > 0
            else "it is not ahead"
        )
    rows = (
        "at this champion on any rows, since the run holds out other rows than its pipeline"
        if own_split
        else ("at these rows")
    )
    look = f" (the {ordinal(comparison.looks)} look {rows})" if comparison.looks > 1 else ""
    chance, allowed = percent(found.p_value), percent(comparison.alpha_spent)
    return f"luck alone would do that with a chance of {chance}, and {allowed} is allowed{look}"


def _needed(found: Interval, comparison: Comparison, margin: float) -> str:
    words = f"an interval of the improvement that lies above {margin:g}"
    if found.detectable is not None:
        words += f"; {comparison.rows} rows show an improvement of {found.detectable:.3g} in 80 of 100 cases"
    if comparison.rows_needed is not None:
        words += f", and it takes about {comparison.rows_needed} rows to show this one"
    return words


def _where(comparison: Comparison) -> str:
    if comparison.leaked_rows:
        return f"the {comparison.rows} holdout rows that neither has seen"
    return f"the same {comparison.rows} holdout rows"


def _not_compared(policy: Gate, detail: str, needed: str = "a champion that loads and scores the holdout") -> Rule:
    return _rule(policy, passed=False, detail=detail, needed=needed)


def _rule(policy: Gate, *, passed: bool, detail: str, found: Interval | None = None, needed: str | None = None) -> Rule:
    return Rule(
        name="better than the champion",
        kind="champion",
        passed=passed,
        required=policy.beat_champion == "required",
        detail=detail,
        value=found.low if found else None,
        limit=policy.margin,
        needed=None if passed else needed,
    )
