"""Carry out what a person said of a candidate that waits."""

from __future__ import annotations

import logging
from datetime import timedelta

from noria.errors import InputError, VerdictError
from noria.records import NOBODY, Approval, Decision, Run
from noria.stages.carrying_out import answered, catch_up, crown, enter
from noria.stages.case import Case, opened
from noria.stages.judging import judge
from noria.stages.promote import EVENTS, has_crowned, until_fresh
from noria.stages.ruling import kept_ruling, new_ruling
from noria.workspace import Workspace

log = logging.getLogger(__name__)


def release(run: Run, workspace: Workspace) -> Decision:
    """Judge the candidate once more and, where it was approved and still wins, make it the champion.

    What was not approved, or not in time, keeps the champion, and so does a champion that is another one than the
    person saw. A candidate that does not wait is left as `promote` has decided.

    Raises:
        InputError: Nobody has answered, and there is time left.
        BusyError: Another promotion of this pipeline does not end.
        VerdictError: The approval was changed after it was signed, or is for another model.
        StorageError: The registry or the lake refused, or it was not judged yet.
    """
    asked = workspace.asked(run) or workspace.require(run, "promote", Decision)
    if not asked.waiting:
        return asked
    approval = workspace.approval(run)
    with opened(run, workspace) as case:
        if approval is None:
            return _nobody(case, asked)
        _check(case, approval)
        answered(case, asked, approval)
        if not approval.approved:
            return _kept(case, asked, f"{approval.by} declined: {approval.reason}", approval)
        return until_fresh(lambda _first: _released(case, asked, approval))


def _released(case: Case, asked: Decision, approval: Approval) -> Decision:
    begun, own = kept_ruling(case), case.own(case.production)
    if begun is not None and own is not None and has_crowned(begun, own):
        log.info("an earlier attempt made version %s the champion already", own.version)
        return crown(case, begun).model_copy(update={"approval": approval})
    champion = case.production.champion(case.name)
    if (now := champion.version if champion else None) != approval.previous_champion:
        seen = f"version {approval.previous_champion}" if approval.previous_champion else "no champion"
        why = f"the champion is version {now or '(none)'} by now, and {approval.by} approved it against {seen}"
        return _kept(case, asked, why, approval, event=True)
    catch_up(case.name, case.workspace)
    decision = judge(case, champion).model_copy(update={"approval": approval})
    if decision.verdict != "promote":
        enter(case, EVENTS[decision.verdict], decision)
        return decision.model_copy(update={"registered_version": asked.registered_version})
    return crown(case, new_ruling(case, decision))


def _nobody(case: Case, asked: Decision) -> Decision:
    """Nobody has answered: that is no, once the time is over."""
    hours = case.approval.timeout_hours if case.approval else 0.0
    until = (case.workspace.asked_at(case.run) or case.run.created_at) + timedelta(hours=hours)
    if case.workspace.clock() < until:
        raise InputError(
            f"the candidate of run {case.run.run_id} of {case.name} waits until {until:%Y-%m-%d %H:%M} UTC",
            expected="an answer",
            remedy=f"noria promote {case.name} --run {case.run.run_id} --approve --reason TEXT",
        )
    why = f"nobody approved it within {hours:g} hours"
    enter(case, "declined", asked, by=NOBODY, reasons=(why,))
    return _kept(case, asked, why, None)


def _kept(case: Case, asked: Decision, why: str, approval: Approval | None, *, event: bool = False) -> Decision:
    champion = case.production.champion(case.name)
    version = champion.version if champion else None
    changes = {
        "verdict": "keep", "waiting": False, "reasons": (why,), "approval": approval, "champion_version": version,
    }  # fmt: skip
    decision = asked.model_copy(update=changes)
    if event:
        enter(case, "kept", decision)
    log.info("the champion stays: %s", why)
    return decision


def _check(case: Case, approval: Approval) -> None:
    mine = (case.name, case.run.run_id, case.candidate.model_sha256)
    if (approval.pipeline, approval.run_id, approval.model_sha256) != mine:
        raise VerdictError(
            f"the approval is for model {approval.model_sha256} of run {approval.run_id} of {approval.pipeline}",
            expected=f"one for model {case.candidate.model_sha256} of run {case.run.run_id} of {case.name}",
            remedy=f"Somebody put it there by hand: see who writes to the lake, and start a new run of {case.name}.",
        )
