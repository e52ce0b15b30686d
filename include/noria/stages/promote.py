"""Judge the candidate beside the champion on the same holdout, and register it if the verdict says promote."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from noria import gate
from noria.errors import InputError, StorageError
from noria.lake import scratch
from noria.models.examples import load_split
from noria.models.metrics import evaluate
from noria.models.store import load_model
from noria.records import Candidate, ChampionVersion, Decision, Run, Snapshot
from noria.workspace import Workspace

log = logging.getLogger(__name__)


def promote(run: Run, workspace: Workspace) -> Decision:
    """Decide, and carry the decision out. A retry after any interruption ends in the same state.

    Raises:
        BusyError: Another promotion of this pipeline does not end.
        StorageError: The registry or the lake refused.
    """
    candidate = workspace.require(run, "train", Candidate)
    registry, name = workspace.registry, run.pipeline.name
    with registry.lock(name), scratch(workspace.settings.home / "tmp") as folder:
        history = registry.history(name)
        decision = gate.decide(candidate, _champion(run, candidate, history, workspace, folder), run.pipeline.gate)
        for rule in decision.rules:
            log.info("%s %s: %s", "ok  " if rule.passed else "FAIL", rule.name, rule.detail)
        log.info("verdict: %s%s", decision.verdict, " (dry run, nothing is registered)" if decision.dry_run else "")
        if decision.verdict != "promote" or decision.dry_run:
            return decision
        with workspace.lake.local(candidate.model) as model_file:
            _check_model(candidate, model_file)
            version = registry.register(run, candidate, decision, model_file)
    log.info("version %s of %s is registered", version.version, name)
    return decision.model_copy(update={"champion_version": version.version})


def _champion(
    run: Run, candidate: Candidate, history: list[ChampionVersion], workspace: Workspace, folder: Path
) -> gate.Champion | None:
    """The champion that the candidate has to beat, judged on the candidate's holdout.

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
        file = workspace.registry.fetch(run.pipeline.name, version.version, folder)
        model = load_model(file, version.model_sha256)
    except InputError as error:
        return gate.Champion(version.version, problem=str(error))
    snapshot = workspace.require(run, "ingest", Snapshot)
    with workspace.lake.local(snapshot.table) as table:
        split = load_split(table, run.pipeline)
    if split.holdout_sha256 != candidate.holdout_sha256:
        raise StorageError(
            f"the holdout of snapshot {snapshot.snapshot_id} is not the one that the candidate was judged on",
            remedy="Start a new run.",
        )
    try:
        metrics = evaluate(split.problem, model, split.holdout)
    except Exception as error:  # an old model can fail on new columns or classes in any way
        return gate.Champion(version.version, problem=f"{type(error).__name__}: {error}")
    return gate.Champion(version.version, metrics=metrics)


def _check_model(candidate: Candidate, file: Path) -> None:
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != candidate.model_sha256:
        raise StorageError(
            f"model file {file} has SHA-256 {found}", expected=candidate.model_sha256, remedy="Start a new run."
        )
