"""What a person does with a candidate: agree, decline, or promote it against the gate's verdict."""

from __future__ import annotations

import logging
from datetime import timedelta

from noria.errors import InputError
from noria.models.answers import ask, finite, load
from noria.pipeline import NO_ONE
from noria.records import NOBODY, Approval, Candidate, Decision, Run
from noria.stages.carrying_out import catch_up, crown
from noria.stages.case import Case, opened
from noria.stages.judging import judge
from noria.stages.promote import until_fresh
from noria.stages.ruling import kept_ruling, new_ruling
from noria.workspace import APPROVAL, FORCED, Workspace, run_path, to_json

log = logging.getLogger(__name__)
_GRACE = timedelta(hours=1)
"""A task that asks people begins to count later than the stage before it ended."""


def approve(run: Run, workspace: Workspace, *, approved: bool, by: str, reason: str) -> Approval:
    """Keep a person's answer, signed, for the stage `release` to carry out; the first answer stands.

    Raises:
        InputError: Nobody is named, the run's candidate does not wait for approval, it is not this person's to approve
            or too late, or another answer stands already.
        StorageError: It was not judged yet.
    """
    asked = workspace.asked(run) or workspace.require(run, "promote", Decision)
    named(by, reason if approved else reason or "no")
    if not asked.waiting:
        raise InputError(
            f"the candidate of run {run.run_id} of {run.pipeline.name} does not wait for approval",
            expected="one that the gate would promote, and that people are asked about",
            remedy=f"`noria promote {run.pipeline.name} --run {run.run_id}` judges it again.",
        )
    if approved:
        _check_leave(run, workspace, by)
    approval = Approval(
        pipeline=run.pipeline.name,
        run_id=run.run_id,
        model_sha256=workspace.require(run, "train", Candidate).model_sha256,
        previous_champion=asked.previous_champion,
        approved=approved,
        by=by,
        reason=reason,
        at=workspace.clock(),
    )
    signed = workspace.keyring.sign(approval)
    if workspace.lake.create(run_path(run.pipeline.name, run.run_id, APPROVAL), to_json(signed)):
        return signed
    stands = workspace.approval(run)
    if stands is None or (stands.approved, stands.by) != (approved, by):
        said = f"{stands.by} has {'approved' if stands.approved else 'declined'} it" if stands else "somebody answered"
        raise InputError(
            f"the candidate of run {run.run_id} of {run.pipeline.name} has an answer already: {said}",
            expected="one that nobody has answered for: the first answer stands",
            remedy=f"Start a new run with `noria run {run.pipeline.name}`.",
        )
    return stands


def force(run: Run, workspace: Workspace, *, by: str, reason: str) -> Decision:
    """Promote a run's candidate whatever the gate says; the registry and every later report tell it for ever.

    The model must still be the one that training left, load, and give finite predictions.

    Raises:
        InputError: No reason, nobody is named, the model cannot be used, or it is the champion already.
        BusyError: Another promotion of this pipeline does not end.
    """
    named(by, reason)
    with opened(run, workspace) as case:
        decision = until_fresh(lambda _first: _forced(case, by, reason))
        workspace.lake.replace(run_path(case.name, run.run_id, FORCED), to_json(decision))
    return decision


def named(by: str, reason: str) -> None:
    """Nothing, where somebody gives a reason.

    Raises:
        InputError: Nobody does, or none is given.
    """
    if not by.strip() or not reason.strip():
        missing = "who asks for it" if not by.strip() else "the reason"
        raise InputError(
            f"{missing} is missing",
            expected="a name and a reason: both are kept for ever",
            remedy="Give it with --reason TEXT, or in the form's field." if by.strip() else "",
        )


def _check_leave(run: Run, workspace: Workspace, by: str) -> None:
    policy, since = workspace.approval_policy(run), workspace.asked_at(run)
    if policy is None or since is None:
        return
    if by in (NO_ONE, NOBODY) or (policy.approvers and by not in policy.approvers):
        raise InputError(
            f"{by} may not approve for {run.pipeline.name}",
            expected=", ".join(policy.approvers) or "a person",
            remedy="Who may stands in gate.approval.approvers of pipeline.yaml; a run may name fewer, not others.",
        )
    until = since + timedelta(hours=policy.timeout_hours)
    if workspace.clock() > until + _GRACE:
        raise InputError(
            f"the time to approve run {run.run_id} of {run.pipeline.name} was over at {until:%Y-%m-%d %H:%M} UTC",
            remedy="Start a new run.",
        )


def _forced(case: Case, by: str, reason: str) -> Decision:
    own = case.own(case.production)
    begun = kept_ruling(case, "force")
    if begun is not None and own is not None and own.sequence == begun.verdict.sequence:
        return crown(case, begun)
    if own is not None and own.is_champion:
        raise InputError(
            f"version {own.version} of {case.name} is of run {case.run.run_id}, and the champion already",
            expected="a candidate that is not",
            remedy=f"Nothing has to be done; `noria history {case.name}` tells how it became the champion.",
        )
    _check_model(case)
    catch_up(case.name, case.workspace)
    decision = judge(case, case.production.champion(case.name))
    log.warning("%s promotes run %s of %s by force (%s): %s", by, case.run.run_id, case.name, decision.verdict, reason)
    said = decision.model_copy(update={"forced": f"{by}: {reason}", "dry_run": False})
    return crown(case, new_ruling(case, said, action="force", by=by, reason=reason))


def _check_model(case: Case) -> None:
    split = case.drawn.split
    answers = ask(split.problem, load(case.model_file, case.candidate.model_sha256), split.holdout.features)
    if not finite(answers):
        raise InputError(
            f"the model of run {case.run.run_id} of {case.name} gives predictions that are not finite numbers",
            expected="a model that can be used; no reason makes up for that",
            remedy=f"Train another one with `noria run {case.name}`.",
        )
