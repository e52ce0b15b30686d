"""Gather the evidence on a candidate and its rival, and have the gate judge it.

Nothing that training claims is believed where it can be computed from the model's bytes and the snapshot's rows.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable
from datetime import datetime

import numpy as np

from noria import gate
from noria.errors import InputError
from noria.gate import Challenger, Champion, Circumstances, Holdout
from noria.ledger import History
from noria.models.answers import load, watch
from noria.models.build import DUMMY, build_model
from noria.models.examples import Split, as_text
from noria.models.holdout import among, from_bytes, row_set
from noria.models.metrics import Predictions, predict
from noria.records import ChampionVersion, Decision, HoldoutRule, ValidationReport
from noria.stages.case import Case
from noria.stages.rival import champion_of

log = logging.getLogger(__name__)
MEASURES = ("task", "target", "metrics", "expectations")
"""Keys of pipeline.yaml beside the policy that say what is good."""


def judge(case: Case, rival: ChampionVersion | None, history: History | None = None) -> Decision:
    """What the gate says of a candidate beside a champion.

    Args:
        case: The candidate.
        rival: The champion that it has to beat; none if there is no champion yet.
        history: The pipeline's, where the caller has just read it.

    Raises:
        SpecError: The pipeline.yaml in the folder is wrong: what it asks for cannot be known.
        InputError: The candidate's model file is gone, or its snapshot can no longer be split.
        UnavailableError: The registry or the lake did not answer well.
        AccessError: It refused.
    """
    champion = champion_of(case, rival) if rival else None
    known = _circumstances(case, champion, history or case.ledger.history())
    decision = gate.decide(_challenger(case), champion, case.run.pipeline.gate, _holdout(case), known)
    for rule in decision.rules:
        log.info("%s %s: %s", "ok  " if rule.passed else "FAIL", rule.name, rule.detail)
    log.info("verdict: %s%s", decision.verdict, " (dry run, nothing is registered)" if decision.dry_run else "")
    return decision.model_copy(update={"predicting": case.predicting})


def _holdout(case: Case) -> Holdout:
    split, held = case.drawn.split, case.drawn.held
    policies = [policy for policy in (case.run.pipeline.gate, case.policy_now) if policy]
    columns = {s.column for policy in policies for s in policy.slices} & set(held.column_names)
    slices = {column: as_text(held.column(column)) for column in sorted(columns)}
    return Holdout(split.problem, split.holdout.target, split.holdout_sha256, slices, _without_features(split))


def _without_features(split: Split) -> Predictions:
    """What a model without features, of the same training rows, says of the holdout's n rows."""
    dummy = build_model(split.problem, DUMMY, {}, 0).fit(split.train.features, split.train.target)
    return predict(split.problem, dummy, split.holdout.features)


def _challenger(case: Case) -> Challenger:
    envelope = case.workspace.stage_run(case.run, "train")
    seen, differ = _seen(case)
    predictions, problem, latency, size = None, None, None, None
    rows, posed = case.drawn.split.holdout.features, case.drawn.split.problem
    try:
        size = case.model_file.stat().st_size
        model = load(case.model_file, case.candidate.model_sha256)
        predictions = case.answers(model, rows)
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
        model_bytes=size,
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


def _circumstances(case: Case, champion: Champion | None, history: History) -> Circumstances:
    version, versions = champion.version if champion else None, case.production.history(case.name)
    own_split = _own_split(case)
    holdout = None if own_split else case.drawn.split.holdout_sha256
    return Circumstances(
        snapshot=case.snapshot,
        validation=case.workspace.find(case.run, "validate", ValidationReport),
        now=case.workspace.clock(),
        lake_now=case.workspace.lake.now(),
        newest=_newest(case, history, versions),
        policy_now=case.policy_now,
        overridden=_overridden(case),
        looks=history.looks(version, holdout, besides=case.candidate.model_sha256),
        own_split=own_split,
        registry_findings=_findings(case, version, history, versions),
    )


def _overridden(case: Case) -> tuple[str, ...]:
    """Keys that say what is good, and say something else in the run than in the folder."""
    run, now = case.run.pipeline, case.pipeline_now
    return tuple(key for key in MEASURES if now is not None and getattr(run, key) != getattr(now, key))


def _own_split(case: Case) -> bool:
    now = case.pipeline_now
    return now is not None and HoldoutRule.of(case.run.pipeline) != HoldoutRule.of(now)


def _newest(case: Case, history: History, versions: Iterable[ChampionVersion]) -> datetime:
    """The newest time that lake or registry knows of."""
    known = [case.run.created_at, *filter(None, [newest_of(history, versions)])]
    if trained := case.workspace.stage_run(case.run, "train"):
        known.append(trained.finished_at)
    return max(known)


def newest_of(history: History, versions: Iterable[ChampionVersion]) -> datetime | None:
    """The newest time in a pipeline's ledger and registry, from the last entry on by which a person has said who the
    champion is; none where there is nothing.
    """
    confirmed = history.confirmed.verdict_id if history.confirmed else None
    found = [*versions]
    number = next((v.sequence for v in found if v.crown and v.crown.id == confirmed), None) or 0
    later = [v.created_at for v in found if v.verdict is None or v.verdict.sequence > number]
    return max([*filter(None, [history.newest]), *later], default=None)


def _findings(
    case: Case, champion: str | None, history: History, versions: Collection[ChampionVersion]
) -> tuple[str, ...]:
    """What was written around the registries.

    The comparison tells of a champion's file that cannot be used, where the policy requires one.
    """
    compared = champion if case.run.pipeline.gate.beat_champion == "required" else None
    found = case.production.audit(case.name, unread=compared) or history.dethroned(versions)
    return (*found, *(() if case.one_registry else case.staging.audit(case.name)))
