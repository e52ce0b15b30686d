"""Judge the candidate beside the champion on the same rows, and carry the verdict out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from noria.errors import StaleVerdictError
from noria.records import ChampionVersion, Decision, LedgerEvent, Run, SignedVerdict
from noria.stages.carrying_out import carried_out, catch_up, crown, enter, stage
from noria.stages.case import Case, opened
from noria.stages.judging import judge
from noria.stages.ruling import Ruling, kept_ruling, new_ruling
from noria.workspace import Workspace

log = logging.getLogger(__name__)
_TRIES = 3
EVENTS: dict[str, LedgerEvent] = {"keep": "kept", "reject": "rejected"}


def promote(run: Run, workspace: Workspace) -> Decision:
    """Decide, and carry the decision out. A retry after any interruption ends in the same state.

    What a person has to approve waits in staging; `release` goes on with it.

    Raises:
        BusyError: Another promotion of this pipeline does not end.
        StaleVerdictError: Others, who do not share this lake's lock, change the champion each time.
        StorageError: The registry or the lake refused.
        SpecError: The pipeline.yaml in the folder is wrong: what it asks for cannot be known.
        InputError: The candidate's model file is gone, or its snapshot can no longer be split.
    """
    with opened(run, workspace) as case:
        begun = _begun(case)
        return until_fresh(lambda first: crown(case, begun) if first and begun else _judged(case))


def until_fresh(attempt: Callable[[bool], Decision]) -> Decision:
    """Judge again where the champion has become another one meanwhile; the attempt is told if it is the first."""
    for number in range(_TRIES):
        try:
            return attempt(number == 0)
        except StaleVerdictError as error:
            log.warning("%s", error)
            if number == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _begun(case: Case) -> Ruling | None:
    """What an earlier attempt has decided, and carried out as far as the crown; what was not is judged again."""
    ruling = kept_ruling(case)
    own = case.own(case.production) if ruling else None
    if ruling is None or own is None or not has_crowned(ruling, own):
        return None
    log.info("an earlier attempt made version %s the champion already", own.version)
    return ruling


def _judged(case: Case) -> Decision:
    history = catch_up(case.name, case.workspace)
    versions = case.production.history(case.name)
    own = case.own_among(versions)
    decision = judge(case, rival_of(own, versions), history)
    if decision.dry_run:
        enter(case, "dry_run", decision)
        return decision
    if decision.verdict != "promote":
        enter(case, EVENTS[decision.verdict], decision)
        return decision
    leave = _leave(own) if own is not None and own.sequence is not None else None
    if leave is not None and leave.action == "rollback":
        log.info("version %s was approved and brought back since", own.version if own else "")
        return carried_out(case, decision, own.version if own else None)
    if leave is not None:
        return crown(case, Ruling(decision.model_copy(update={"verdict_id": leave.id}), leave))
    if case.approval:
        return stage(case, new_ruling(case, decision, entry_only=True))
    return crown(case, new_ruling(case, decision))


def rival_of(own: ChampionVersion | None, versions: Iterable[ChampionVersion]) -> ChampionVersion | None:
    """The champion that the candidate has to beat; where it has become the champion itself, the one before it."""
    if own is None or own.sequence is None:
        return next((v for v in versions if v.is_champion), None)
    return next((v for v in versions if v.version == own.previous_champion), None)


def has_crowned(ruling: Ruling, own: ChampionVersion) -> bool:
    """Whether a version became the champion by a ruling, or later: then nothing is judged again."""
    return not ruling.verdict.entry_only and (own.sequence or 0) >= ruling.verdict.sequence


def _leave(own: ChampionVersion) -> SignedVerdict | None:
    """By what a version became the champion at first; what let it in to wait did not."""
    waited = own.verdict is not None and own.verdict.entry_only
    return own.crown if waited else own.verdict
