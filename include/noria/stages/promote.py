"""Judge the candidate beside the champion on the same holdout, and register it if the verdict says promote."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from noria import gate
from noria.errors import InputError, StorageError
from noria.lake import scratch
from noria.models.examples import held_out_by, load_split
from noria.models.metrics import evaluate
from noria.models.store import load_model
from noria.records import Candidate, ChampionVersion, Decision, HoldoutRule, Run, Snapshot
from noria.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np

    from noria.pipeline import Pipeline

log = logging.getLogger(__name__)
LEAST_SHARED_ROWS = 30
"""Fewer rows say little: the standard error of a metric such as a mean is then about a fifth of one row's spread."""


def promote(run: Run, workspace: Workspace) -> Decision:
    """Decide, and carry the decision out. A retry after any interruption ends in the same state.

    Raises:
        BusyError: Another promotion of this pipeline does not end.
        StorageError: The registry or the lake refused.
    """
    candidate = workspace.require(run, "train", Candidate)
    registry, name = workspace.registry, run.pipeline.name
    with workspace.lake.lock(f"promote-{name}") as still_held, scratch(workspace.settings.home / "tmp") as folder:
        history = registry.history(name)
        decision = gate.decide(candidate, _champion(run, candidate, history, workspace, folder), run.pipeline.gate)
        for rule in decision.rules:
            log.info("%s %s: %s", "ok  " if rule.passed else "FAIL", rule.name, rule.detail)
        log.info("verdict: %s%s", decision.verdict, " (dry run, nothing is registered)" if decision.dry_run else "")
        if decision.verdict != "promote" or decision.dry_run:
            return decision
        with workspace.lake.local(candidate.model) as model_file:
            _check_model(candidate, model_file)
            still_held()
            version = registry.register(run, candidate, decision, model_file)
            champion = version if version.is_champion else registry.champion(name)
    log.info("version %s of %s is registered", version.version, name)
    return _carried_out(decision, version.version, champion.version if champion else None)


def _carried_out(decision: Decision, registered: str, champion: str | None) -> Decision:
    """The decision with what the registry holds now; a retry may find that another run was promoted meanwhile."""
    changes: dict[str, object] = {"registered_version": registered, "champion_version": champion}
    if champion != registered:
        stands = f"a newer champion, version {champion}, stands" if champion else "the champion was withdrawn since"
        changes["reasons"] = (*decision.reasons, f"version {registered} is registered, but {stands}")
        log.warning("version %s is no champion: %s", registered, stands)
    return decision.model_copy(update=changes)


def _champion(
    run: Run, candidate: Candidate, history: list[ChampionVersion], workspace: Workspace, folder: Path
) -> gate.Champion | None:
    """The champion that the candidate has to beat, judged on what it has not seen of the candidate's holdout.

    If an earlier attempt of this run has registered the candidate already, that is the champion from before it.
    """
    own = next((v for v in history if v.run_id == run.run_id), None)
    if own is not None:
        log.info("an earlier attempt registered version %s already", own.version)
        version = next((v for v in history if v.version == own.previous_champion), None)
    else:
        version = next((v for v in history if v.is_champion), None)
    if version is None:
        return None
    try:
        return _compared(run, candidate, version, workspace, folder)
    except InputError as error:
        return gate.Champion(version.version, problem=str(error))


def _compared(
    run: Run, candidate: Candidate, version: ChampionVersion, workspace: Workspace, folder: Path
) -> gate.Champion:
    """The champion's metrics on the rows of today's holdout that it has not seen, and the candidate's if not on all.

    Raises:
        InputError: They cannot be compared.
    """
    model = load_model(workspace.registry.fetch(run.pipeline.name, version.version, folder), version.model_sha256)
    snapshot = workspace.require(run, "ingest", Snapshot)
    with workspace.lake.local(snapshot.table) as table:
        split = load_split(table, run.pipeline)
        unseen = _unseen(version.holdout, table, run.pipeline)
    if split.holdout_sha256 != candidate.holdout_sha256:
        raise StorageError(
            f"the holdout of snapshot {snapshot.snapshot_id} is not the one that the candidate was judged on",
            remedy="Start a new run.",
        )
    rows, metrics = split.holdout, None
    if unseen is not None and not unseen.all():
        rows = split.holdout.take(unseen)
        if len(rows) < LEAST_SHARED_ROWS:
            raise InputError(
                f"it has seen all but {len(rows)} of the {len(split.holdout)} holdout rows",
                expected=f"at least {LEAST_SHARED_ROWS} that it has not seen",
            )
        with workspace.lake.local(candidate.model) as file:
            metrics = evaluate(split.problem, load_model(file, candidate.model_sha256), rows)
    try:
        champions = evaluate(split.problem, model, rows)
    except Exception as error:  # an old model can fail on new columns in any way
        raise InputError(f"{type(error).__name__}: {error}") from error
    return gate.Champion(
        version.version, champions, shared_rows=len(rows) if metrics else None, candidate_metrics=metrics
    )


def _unseen(rule: HoldoutRule | None, table: Path, pipeline: Pipeline) -> np.ndarray | None:
    """Which rows of the holdout (n booleans) a champion has not seen; none means all, since its rule is today's."""
    if rule is None:
        raise InputError("its version does not say which rows it was trained on")
    return None if rule == HoldoutRule.of(pipeline) else held_out_by(rule, table, pipeline)


def _check_model(candidate: Candidate, file: Path) -> None:
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != candidate.model_sha256:
        raise StorageError(
            f"model file {file} has SHA-256 {found}", expected=candidate.model_sha256, remedy="Start a new run."
        )
