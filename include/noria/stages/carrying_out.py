"""Carry a ruling out: into staging, into production, the crown, the ledger. Every step can be repeated."""

from __future__ import annotations

import logging
from datetime import datetime

from noria.ledger import History, entry_of
from noria.records import Approval, ChampionVersion, Decision, LedgerEntry, LedgerEvent, SignedVerdict
from noria.stages.case import Case
from noria.stages.ruling import Ruling
from noria.workspace import Workspace

log = logging.getLogger(__name__)


def stage(case: Case, ruling: Ruling) -> Decision:
    """Put a candidate where it waits for a person."""
    version = _into_staging(case, ruling.verdict)
    champion = case.production.champion(case.name)
    decision = ruling.decision.model_copy(
        update={
            "waiting": True,
            "registered_version": version.version,
            "champion_version": champion.version if champion else None,
        }
    )
    log.info("version %s of %s is in staging and waits for approval", version.version, case.name)
    enter(case, "staged", decision, at=ruling.verdict.issued_at, version=version.version)
    return decision


def crown(case: Case, ruling: Ruling) -> Decision:
    """Make a candidate the champion.

    Raises:
        StaleVerdictError: There is another champion by now than it was judged against.
    """
    verdict, own = ruling.verdict, case.own(case.production)
    version = own if own is not None and _is_past(own, verdict) else _crown(case, verdict)
    log.info("version %s of %s is registered", version.version, case.name)
    event: LedgerEvent = "promoted"
    reasons = ruling.decision.reasons
    if verdict.action == "force":
        event = "forced"
        reasons = (verdict.reason, f"the gate said {ruling.decision.verdict}: {'; '.join(reasons)}")
    at, number = verdict.issued_at, version.version
    enter(case, event, ruling.decision, at=at, version=number, crowned=True, by=verdict.by, reasons=reasons)
    champion = case.production.champion(case.name)
    return _carried_out(ruling.decision, version.version, champion.version if champion else None)


def carried_out(case: Case, decision: Decision, version: str | None) -> Decision:
    """A decision on a version that was the champion already, with what the registry holds now."""
    champion = case.production.champion(case.name)
    return _carried_out(decision, version or "", champion.version if champion else None)


def enter(
    case: Case,
    event: LedgerEvent,
    decision: Decision,
    *,
    at: datetime | None = None,
    version: str | None = None,
    crowned: bool = False,
    by: str = "gate",
    reasons: tuple[str, ...] = (),
) -> None:
    """Write a line of the pipeline's history, unless it stands there already."""
    before = decision.previous_champion
    case.ledger.append(
        LedgerEntry(
            pipeline=case.name,
            at=at or case.workspace.clock(),
            event=event,
            run_id=case.run.run_id,
            model_sha256=case.candidate.model_sha256,
            holdout_sha256=case.drawn.split.holdout_sha256,
            policy_sha256=decision.policy_sha256,
            version=version,
            champion_before=before,
            champion_after=version if crowned else before,
            by=by,
            reasons=reasons or decision.reasons,
            verdict_id=decision.verdict_id,
        )
    )


def catch_up(name: str, workspace: Workspace) -> History:
    """Write the line of a champion whose promotion or rollback was killed before it could: lines stay in order.

    Returns:
        The pipeline's history with that line.
    """
    ledger, champion = workspace.ledger(name), workspace.registry.champion(name)
    history = ledger.history()
    if champion is None or champion.crown is None:
        return history
    line = entry_of(champion.crown, champion.version)
    if history.has(line):
        return history
    ledger.append(line)
    return ledger.history()


def answered(case: Case, decision: Decision, approval: Approval) -> None:
    """Write a person's answer into the pipeline's history."""
    event: LedgerEvent = "approved" if approval.approved else "declined"
    enter(case, event, decision, at=approval.at, by=approval.by, reasons=(approval.reason,))


def _into_staging(case: Case, verdict: SignedVerdict) -> ChampionVersion:
    case.still_held()
    return case.staging.register(case.run, case.candidate, verdict, case.model_file)


def _crown(case: Case, verdict: SignedVerdict) -> ChampionVersion:
    version = _into_staging(case, verdict)
    if not case.one_registry:
        case.still_held()
        version = case.production.register(case.run, case.candidate, verdict, case.model_file)
    case.still_held()
    return case.production.crown(case.name, version.version, verdict)


def _is_past(own: ChampionVersion, verdict: SignedVerdict) -> bool:
    """Whether the verdict has made it the champion once, and others have followed: then nothing is left to do."""
    number = own.sequence or 0
    return number > verdict.sequence or (number == verdict.sequence and not own.is_champion)


def _carried_out(decision: Decision, registered: str, champion: str | None) -> Decision:
    """The decision with what the registry holds now; a retry may find that another run was promoted meanwhile."""
    changes: dict[str, object] = {"registered_version": registered, "champion_version": champion}
    if champion != registered:
        stands = f"a newer champion, version {champion}, stands" if champion else "the champion was withdrawn since"
        changes["reasons"] = (*decision.reasons, f"version {registered} is registered, but {stands}")
        log.warning("version %s is no champion: %s", registered, stands)
    return decision.model_copy(update=changes)
