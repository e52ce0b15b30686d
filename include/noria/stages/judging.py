"""Gather the evidence on a candidate and its rival, and have the gate judge it.

Nothing that training claims is believed where it can be computed from the model's bytes and the snapshot's rows.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from datetime import datetime

import numpy as np

from noria import gate
from noria.errors import InputError
from noria.gate import Challenger, Champion, Circumstances, Holdout
from noria.models.answers import ask, load, watch
from noria.models.examples import as_text
from noria.models.holdout import among, from_bytes, row_set
from noria.records import ChampionVersion, Decision, LedgerEntry, ValidationReport
from noria.stages.case import Case
from noria.stages.rival import champion_of

log = logging.getLogger(__name__)


def judge(case: Case, rival: ChampionVersion | None) -> Decision:
    """What the gate says of a candidate beside a champion.

    Args:
        case: The candidate.
        rival: The champion that it has to beat; none if there is no champion yet.
    """
    champion = champion_of(case, rival) if rival else None
    decision = gate.decide(
        _challenger(case), champion, case.run.pipeline.gate, _holdout(case), _circumstances(case, champion)
    )
    for rule in decision.rules:
        log.info("%s %s: %s", "ok  " if rule.passed else "FAIL", rule.name, rule.detail)
    log.info("verdict: %s%s", decision.verdict, " (dry run, nothing is registered)" if decision.dry_run else "")
    return decision


def _holdout(case: Case) -> Holdout:
    split, held = case.drawn.split, case.drawn.held
    policies = [policy for policy in (case.run.pipeline.gate, case.policy_now) if policy]
    columns = {s.column for policy in policies for s in policy.slices} & set(held.column_names)
    slices = {column: as_text(held.column(column)) for column in sorted(columns)}
    return Holdout(split.problem, split.holdout.target, split.holdout_sha256, slices)


def _challenger(case: Case) -> Challenger:
    envelope = case.workspace.stage_run(case.run, "train")
    seen, differ = _seen(case)
    predictions, problem, latency = None, None, None
    rows, posed = case.drawn.split.holdout.features, case.drawn.split.problem
    try:
        model = load(case.model_file, case.candidate.model_sha256)
        predictions = ask(posed, model, rows)
        manner = watch(posed, model, rows, predictions, int(case.candidate.model_sha256[:8], 16))
        problem, latency = manner.unsteady, manner.latency_milliseconds
    except InputError as error:
        problem = error.got
    return Challenger(
        case.candidate,
        predictions,
        problem=problem,
        seen=seen,
        fit_rows_differ=differ,
        latency_milliseconds=latency,
        training_vcpu_seconds=envelope.usage.vcpu_seconds if envelope else None,
    )


def _seen(case: Case) -> tuple[np.ndarray | None, str | None]:
    """Which rows of the holdout (n booleans) training has seen, and how its rows differ from the snapshot's.

    None where what it has left of them is gone or was changed.
    """
    candidate = case.candidate
    try:
        data = case.workspace.lake.read(candidate.training_rows)
        if (found := hashlib.sha256(data).hexdigest()) != candidate.training_rows_sha256:
            raise InputError(f"{candidate.training_rows} has SHA-256 {found}", expected=candidate.training_rows_sha256)
        seen = from_bytes(data)
    except FileNotFoundError:
        return None, f"{candidate.training_rows}, which names them, is gone"
    except (InputError, ValueError) as error:
        return None, str(error)
    train = row_set(case.drawn.split.train.hashes)
    added, missing = int((~among(seen, train)).sum()), int((~among(train, seen)).sum())
    differ = f"{added} are others, and {missing} of {len(train)} are missing" if added or missing else None
    return among(case.drawn.split.holdout.hashes, seen), differ


def _circumstances(case: Case, champion: Champion | None) -> Circumstances:
    entries = case.ledger.entries()
    version = champion.version if champion else None
    return Circumstances(
        snapshot=case.snapshot,
        validation=case.workspace.find(case.run, "validate", ValidationReport),
        now=case.workspace.clock(),
        newest=_newest(case, entries),
        policy_now=case.policy_now,
        looks=case.ledger.looks(version, case.drawn.split.holdout_sha256, besides=case.candidate.model_sha256),
        registry_findings=_findings(case, champion),
    )


def _newest(case: Case, entries: Iterable[LedgerEntry]) -> datetime:
    """The newest time that lake or registry knows of."""
    known = [case.run.created_at, *(entry.at for entry in entries)]
    known += [version.created_at for version in case.production.history(case.name)]
    if trained := case.workspace.stage_run(case.run, "train"):
        known.append(trained.finished_at)
    return max(known)


def _findings(case: Case, champion: Champion | None) -> tuple[str, ...]:
    """What was written around the registries, but for a champion that cannot be used: the comparison tells of that."""
    found = case.production.audit(case.name) or case.ledger.dethroned(case.production.history(case.name))
    if champion is not None and champion.problem:
        found = [f for f in found if not f.startswith(f"{case.name} version {champion.version}, the champion: ")]
    return (*found, *(() if case.one_registry else case.staging.audit(case.name)))
