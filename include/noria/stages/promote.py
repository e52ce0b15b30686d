"""Judge the candidate beside the champion on the same rows, and carry the verdict out."""

from __future__ import annotations

import logging
from collections.abc import Callable

from noria.errors import StaleVerdictError
from noria.records import ChampionVersion, Decision, LedgerEvent, Run
from noria.stages.carrying_out import catch_up, crown, enter, stage
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
    """
    with opened(run, workspace) as case:
        begun = _begun(case)
        return until_fresh(lambda first: _carry_out(case, begun) if first and begun else _judged(case))


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
    """What an earlier attempt has decided and begun to carry out."""
    ruling = kept_ruling(case)
    version = case.own(case.production) or case.own(case.staging) if ruling else None
    if version is None:
        return None
    log.info("an earlier attempt registered version %s already", version.version)
    return ruling


def _judged(case: Case) -> Decision:
    catch_up(case.name, case.workspace)
    own = case.own(case.production)
    decision = judge(case, rival_of(case, own))
    if decision.dry_run:
        enter(case, "dry_run", decision)
        return decision
    if decision.verdict != "promote":
        enter(case, EVENTS[decision.verdict], decision)
        return decision
    if own is not None and own.sequence is not None and own.verdict is not None:
        return crown(case, Ruling(decision.model_copy(update={"verdict_id": own.verdict.id}), own.verdict))
    return _carry_out(case, new_ruling(case, decision))


def rival_of(case: Case, own: ChampionVersion | None) -> ChampionVersion | None:
    """The champion that the candidate has to beat; where it has become the champion itself, the one before it."""
    if own is None or own.sequence is None:
        return case.production.champion(case.name)
    return next((v for v in case.production.history(case.name) if v.version == own.previous_champion), None)


def _carry_out(case: Case, ruling: Ruling) -> Decision:
    own = case.own(case.production)
    approved_already = own is not None and (own.sequence or 0) >= ruling.verdict.sequence
    return stage(case, ruling) if case.approval and not approved_already else crown(case, ruling)
