"""A verdict and what it rests on, kept before anything is done by it, so that a retry goes on with the same one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from noria.errors import VerdictError
from noria.records import Decision, HoldoutRule, SignedVerdict, digest, policy_digest
from noria.stages.case import Case
from noria.verdicts import new_id
from noria.workspace import run_path, to_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ruling:
    """A decision that may be carried out.

    Attributes:
        decision: What the gate said, with the verdict's id.
        verdict: Leave to carry it out.
    """

    decision: Decision
    verdict: SignedVerdict


def new_ruling(
    case: Case,
    decision: Decision,
    *,
    action: Literal["promote", "force"] = "promote",
    by: str = "gate",
    reason: str = "",
    entry_only: bool = False,
) -> Ruling:
    """Sign leave to carry a decision out, and keep both.

    A verdict that stands there already is taken again if it is leave for the very same thing.
    """
    fresh = SignedVerdict(
        id=new_id(),
        action=action,
        pipeline=case.name,
        run_id=case.run.run_id,
        model_sha256=case.candidate.model_sha256,
        holdout_sha256=case.candidate.holdout_sha256,
        policy_sha256=policy_digest(case.run.pipeline.gate),
        snapshot_id=case.candidate.snapshot_id,
        code=case.candidate.code,
        sequence=case.production.next_sequence(case.name),
        previous_champion=decision.previous_champion,
        by=by,
        reason=reason or "; ".join(decision.reasons),
        issued_at=case.workspace.clock(),
        entry_only=entry_only,
        training_rows_sha256=case.candidate.training_rows_sha256,
        holdout_rule_sha256=digest(HoldoutRule.of(case.run.pipeline)),
    )
    old = _verdict(case, action)
    verdict = old if old is not None and _same(old, fresh) else case.workspace.keyring.sign(fresh)
    ruling = Ruling(decision.model_copy(update={"verdict_id": verdict.id}), verdict)
    case.workspace.lake.replace(_path(case, action, "judged"), to_json(ruling.decision))
    if verdict is not old:
        case.workspace.lake.replace(_path(case, action, "verdict"), to_json(verdict))
    return ruling


def kept_ruling(case: Case, action: Literal["promote", "force"] = "promote") -> Ruling | None:
    """What an earlier attempt has kept, or none; a verdict that was changed since counts as none."""
    verdict = _verdict(case, action)
    try:
        decision = Decision.model_validate_json(case.workspace.lake.read(_path(case, action, "judged")))
    except FileNotFoundError:
        return None
    if verdict is None or decision.verdict_id != verdict.id:
        return None
    return Ruling(decision, verdict)


def _verdict(case: Case, action: str) -> SignedVerdict | None:
    try:
        verdict = SignedVerdict.model_validate_json(case.workspace.lake.read(_path(case, action, "verdict")))
        case.workspace.keyring.check(verdict)
    except FileNotFoundError:
        return None
    except (ValueError, VerdictError) as error:
        log.warning("the verdict of an earlier attempt does not count: %s", error)
        return None
    mine = (case.name, case.run.run_id, case.candidate.model_sha256)
    return verdict if (verdict.pipeline, verdict.run_id, verdict.model_sha256) == mine else None


def _same(one: SignedVerdict, other: SignedVerdict) -> bool:
    """Whether both are leave for the same thing against the same champion."""
    own = frozenset({"id", "issued_at", "reason", "key_id", "signature"})
    return digest(one, exclude=own) == digest(other, exclude=own)


def _path(case: Case, action: str, what: str) -> str:
    return run_path(case.name, case.run.run_id, f"{what}.json" if action == "promote" else f"{action}d.{what}.json")
