"""Where two policies speak, the one that a run froze and the one that stands in the folder now: the stricter holds."""

from __future__ import annotations

from noria.pipeline.budget import WHEN_EXCEEDED, Budget
from noria.pipeline.policy import ApprovalPolicy

NO_ONE = "nobody, since the run and the pipeline's folder name different people"
"""The only approver where two policies have none in common; no person is called so."""


def approval_of(one: ApprovalPolicy | None, other: ApprovalPolicy | None) -> ApprovalPolicy | None:
    """What both policies allow: asked for if either asks, by those whom both name, in the shorter of the two times.

    A policy that names nobody leaves it to whomever the other one names.
    """
    if one is None or other is None:
        return one or other
    approvers = _both(one.approvers, other.approvers)
    return ApprovalPolicy(timeout_hours=min(one.timeout_hours, other.timeout_hours), approvers=approvers)


def budget_of(one: Budget, other: Budget) -> Budget:
    """What both budgets allow: the lower of each bound, and what is stricter of what happens when one is broken."""
    bounds = {key: _least(getattr(one, key), getattr(other, key)) for key in ("per_run", "per_day", "per_month")}
    return Budget(
        **bounds,
        when_exceeded=max(one.when_exceeded, other.when_exceeded, key=WHEN_EXCEEDED.index),
        approvers=_both(one.approvers, other.approvers),
        timeout_hours=min(one.timeout_hours, other.timeout_hours),
    )


def _both(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Whom both name; who names nobody leaves it to the other."""
    if one and other:
        return tuple(name for name in one if name in other) or (NO_ONE,)
    return one or other


def _least(one: float | None, other: float | None) -> float | None:
    return min((bound for bound in (one, other) if bound is not None), default=None)
