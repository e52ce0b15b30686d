"""Decisions in every state that a card knows, as the gate and the stages leave them."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from noria.gate import KINDS
from noria.records import Approval, Comparison, Decision, Interval, Rule, SliceResult, Verdict

NOW = datetime(2026, 5, 4, 5, 0, tzinfo=UTC)
SHA = "5c3c5595b15f3e5a8aa2dccfc17db79dca186635e2a6b3d67afe37bf166c7014"
VERDICT_ID = "1f2e3d4c" * 4


def metrics(r2: float) -> dict[str, float]:
    """Metrics of the pipeline `students` that fit one another."""
    return {
        "r2": r2,
        "mae": 16 * (1 - r2) ** 0.5 * 0.75,
        "rmse": 15.2 * (1 - r2) ** 0.5,
        "rae": (1 - r2) ** 0.5,
        "rse": 1 - r2,
    }


def interval(metric: str, candidate: float, champion: float, half: float, **changes: Any) -> Interval:
    """An interval that reaches `half` to both sides."""
    better = candidate - champion if metric == "r2" else champion - candidate
    fields = {
        "metric": metric, "candidate": candidate, "champion": champion, "improvement": better,
        "low": better - half, "high": better + half, "confidence": 0.9392, "p_value": 0.009 if better > half else 0.21,
        "method": "paired bootstrap", "detectable": 1.4 * half,
    }  # fmt: skip
    return Interval.model_validate({**fields, **changes})


def comparison(ours: float, theirs: float, half: float, **changes: Any) -> Comparison:
    """Of two models of `students` by their R²."""
    pairs = ((name, metrics(ours)[name], metrics(theirs)[name]) for name in metrics(ours))
    scale = {"r2": 1.0, "mae": 16.0, "rmse": 20.0, "rae": 1.3, "rse": 1.0}
    intervals = tuple(interval(name, a, b, half * scale[name]) for name, a, b in pairs)
    fields = {"rows": 298, "leaked_rows": 0, "alpha": 0.05, "alpha_spent": 0.0304, "looks": 1, "draws": 2000}
    return Comparison.model_validate({**fields, "intervals": intervals, **changes})


def rule(kind: str, *, passed: bool = True, required: bool = True, **changes: Any) -> Rule:
    """A rule with a sentence of its own."""
    fields = {"name": f"rule of {kind}", "detail": f"what {kind} found", "kind": kind, "passed": passed}
    return Rule.model_validate({**fields, "required": required, **changes})


def rules(*, champion: bool = True, better: float = 0.006) -> tuple[Rule, ...]:
    """Rules of every sort with their numbers; only the champion's may fail."""
    return (
        rule("rows", name="at least 30 rows that neither has seen", detail="298 rows", value=298, limit=30),
        rule("validation", name="the data is valid", detail="the snapshot passed its validation"),
        rule("threshold", name="r2 at least 0.8", detail="r2 0.864 is at least 0.8", value=0.864, limit=0.8),
        rule("calibration", name="mean error at most 0.1", detail="0.021 of the spread", value=0.021, limit=0.1),
        rule(
            "latency", name="latency at most 2 ms", passed=False, required=False, detail="it takes 3.1 ms",
            value=3.1, limit=2.0, needed="a prediction in 2 ms",
        ),
        rule("slice", name="lunch not worse by 0.05", detail="lunch = standard is worst", value=-0.012, limit=-0.05),
        rule(
            "champion", name="better than the champion", passed=champion,
            detail=f"r2 is {'better' if better > 0 else 'worse'} by {abs(better):.4g} than version 2's",
            value=better, limit=0.0, needed=None if champion else "r2 of at least 0.871 on the same rows",
        ),
    )  # fmt: skip


def slices() -> tuple[SliceResult, ...]:
    """Groups that are better, worse, too small, and one that fails."""
    return (
        _slice("lunch", "standard", 192, 0.861, 0.849, 0.02),
        _slice("lunch", "free/reduced", 106, 0.842, 0.854, 0.03),
        _slice("race_ethnicity", "group A", 24, 0.71, 0.69, 0.2, judged=False),
        _slice("race_ethnicity", "group C", 96, 0.79, 0.88, 0.02, passed=False),
    )


def _slice(column: str, value: str, rows: int, ours: float, theirs: float, half: float, **changes: Any) -> SliceResult:
    better = ours - theirs
    fields = {
        "column": column, "value": value, "rows": rows, "candidate": ours, "champion": theirs, "improvement": better,
        "low": better - half, "high": better + half, "margin": 0.05, "passed": True,
    }  # fmt: skip
    return SliceResult.model_validate({**fields, **changes})


def decision(verdict: Verdict = "promote", **changes: Any) -> Decision:
    """A candidate judged against version 2 on 298 rows."""
    promoted = verdict == "promote"
    better = 0.006 if promoted else -0.006
    found = rules(champion=verdict != "keep", better=better)
    if verdict == "reject":
        low = {"passed": False, "detail": "r2 0.71 is not at least 0.8", "value": 0.71, "needed": "r2 higher by 0.09"}
        found = tuple(r.model_copy(update=low) if r.kind == "threshold" else r for r in found)
    fields = {
        "verdict": verdict, "rules": found, "reasons": tuple(r.detail for r in found if not r.passed and r.required),
        "candidate_metrics": metrics(0.858 + better), "champion_metrics": metrics(0.858),
        "comparison": comparison(0.858 + better, 0.858, 0.0049), "slices": slices()[:3], "policy_sha256": SHA,
        "previous_champion": "2", "registered_version": "3" if promoted else None,
        "champion_version": "3" if promoted else "2", "verdict_id": VERDICT_ID if promoted else None,
    }  # fmt: skip
    return Decision.model_validate({**fields, **changes})


def kept(ours: float, half: float, **changes: Any) -> Decision:
    """Kept because of the comparison with the champion's R² of 0.858."""
    found = rules(champion=False, better=ours - 0.858)
    compared = comparison(ours, 0.858, half, **changes)
    return decision("keep", rules=found, comparison=compared, candidate_metrics=metrics(ours))


def rejected_by(kind: str) -> Decision:
    """Rejected by one rule of a kind."""
    found = tuple(rule(k, passed=k != kind, needed=f"{kind} in order" if k == kind else None) for k in KINDS)
    return decision("reject", rules=found, reasons=(f"what {kind} found",))


def approval(*, approved: bool) -> Approval:
    """What ada said."""
    return Approval(
        pipeline="students", run_id="r", model_sha256=SHA, previous_champion="2", approved=approved, by="ada",
        reason="the groups look right" if approved else "group C needs a look", at=NOW,
    )  # fmt: skip


def _first() -> Decision:
    found = tuple(r for r in rules() if r.kind not in ("slice", "champion"))
    alone = tuple(
        s.model_copy(update={"champion": None, "improvement": None, "low": None, "high": None, "judged": False})
        for s in slices()[:3]
    )
    there_is_none = rule("champion", name="better than the champion", detail="there is no champion yet")
    return decision(
        rules=(*found, there_is_none), comparison=None, champion_metrics=None, previous_champion=None, slices=alone,
        registered_version="1", champion_version="1",
    )  # fmt: skip


def _unscorable() -> Decision:
    lost = rule(
        "champion", passed=False, name="better than the champion",
        detail="version 2 cannot be scored: its file is gone", needed="a champion that loads, or noria rollback",
    )  # fmt: skip
    found = (*rules()[:-1], lost)
    return decision("keep", rules=found, comparison=None, champion_metrics=None, reasons=(lost.detail,))


def _undefined() -> Decision:
    broken = comparison(0.864, 0.858, 0.0049)
    nan = interval("r2", 0.864, math.nan, 0.01, low=-math.inf, high=math.inf, p_value=math.nan, detectable=None)
    return decision("keep", comparison=broken.model_copy(update={"intervals": (nan,)}), champion_metrics=metrics(0.858))


STATES: dict[str, Callable[[], Decision]] = {
    "first": _first,
    "promoted": decision,
    "approved": lambda: decision(approval=approval(approved=True)),
    "kept_by_luck": lambda: kept(
        0.863, 0.009, rows=270, leaked_rows=28, looks=3, alpha_spent=0.00338, rows_needed=1240
    ),
    "kept_worse": lambda: kept(0.832, 0.011),
    "kept_not_better": lambda: kept(0.855, 0.011),
    "kept_alike": lambda: kept(0.858, 0.0),
    "unscorable": _unscorable,
    "undefined": _undefined,
    "rejected": lambda: decision("reject"),
    "slice_fails": lambda: decision(
        "reject",
        rules=(
            *rules()[:-2],
            rule(
                "slice", passed=False, name="race_ethnicity not worse by 0.05", value=-0.09, limit=-0.05,
                detail="group C is worse by 0.09", needed="group C at 0.83 at least",
            ),
            rules()[-1],
        ),
        slices=slices(),
    ),
    "waiting": lambda: decision(waiting=True, champion_version="2"),
    "declined": lambda: decision("keep", rules=rules(), approval=approval(approved=False), champion_version="2"),
    "changed_meanwhile": lambda: decision(
        "keep", rules=rules(), approval=approval(approved=True), reasons=("version 4 was promoted meanwhile",),
        champion_version="4",
    ),
    "forced": lambda: decision(
        "reject", forced="grace: the old model is wrong about winter", registered_version="3", champion_version="3",
        verdict_id=VERDICT_ID,
    ),
    "dry_run": lambda: decision(dry_run=True, registered_version=None, champion_version="2", verdict_id=None),
    "late": lambda: decision(registered_version="2", champion_version="3"),
}  # fmt: skip
"""Name of a state -> what makes it."""
