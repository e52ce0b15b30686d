"""Who has to agree, where two policies speak: the one that a run froze, and the one that stands in the folder now."""

from __future__ import annotations

from noria.pipeline.policy import ApprovalPolicy

NO_ONE = "nobody, since the run and the pipeline's folder name different people"
"""The only approver where two policies have none in common; no person is called so."""


def approval_of(one: ApprovalPolicy | None, other: ApprovalPolicy | None) -> ApprovalPolicy | None:
    """What both policies allow: asked for if either asks, by those whom both name, in the shorter of the two times.

    A policy that names nobody leaves it to whomever the other one names.
    """
    if one is None or other is None:
        return one or other
    approvers = one.approvers or other.approvers
    if one.approvers and other.approvers:
        approvers = tuple(name for name in one.approvers if name in other.approvers) or (NO_ONE,)
    return ApprovalPolicy(timeout_hours=min(one.timeout_hours, other.timeout_hours), approvers=approvers)
