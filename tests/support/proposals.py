"""Runs whose candidates wait for the gate: a real snapshot, a real model, and all that training leaves."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from filelock import FileLock

from noria.models.build import build_model
from noria.models.examples import Examples, Split, load_split
from noria.models.holdout import row_set
from noria.models.metrics import evaluate
from noria.models.store import dump_model, model_types
from noria.records import Candidate, Metrics, Run, Snapshot, Spread, ValidationReport, policy_digest
from noria.settings import CHECKOUT, Settings
from noria.stages.ingest import ingest
from noria.stages.train import MODEL, SEEN_ROWS
from noria.workspace import Workspace, run_path
from tests.support.runs import done, explored

PUPILS = "pupils"
"""The students' pipeline under another name, with a policy of the test's own."""
WEAK = 0.08
"""Share of the training rows that makes a model that any other beats beyond luck."""


def write_pipeline(folder: Path, gate: Mapping[str, Any] | None = None, *, name: str = PUPILS, **changes: Any) -> Path:
    """The students' pipeline under another name below a folder, with another gate and other keys."""
    spec = yaml.safe_load((CHECKOUT / "include/pipelines/students/pipeline.yaml").read_text())
    spec |= {"name": name, "gate": dict(gate or {}), **changes}
    file = folder / name / "pipeline.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(spec, sort_keys=False))
    return folder


def empty_registry(factory: pytest.TempPathFactory) -> Path:
    """A database that knows nothing; it takes seconds to make, so it is made once for all test processes and copied."""
    own = factory.getbasetemp()
    home = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "empty-registry"
    with FileLock(f"{home}.lock"):
        if not home.exists():
            begun = home.with_suffix(".begun")
            assert Workspace.open(Settings.from_env({}, home=begun)).registry.history(PUPILS) == []
            begun.rename(home)
    return home / "registry" / "mlflow.db"


def open_workspace(home: Path, database: Path, **environment: str) -> Workspace:
    """A workspace whose pipelines are below `home/pipelines`, with a copy of an empty registry."""
    (home / "registry").mkdir(parents=True)
    shutil.copy(database, home / "registry" / "mlflow.db")
    folder = write_pipeline(home / "pipelines")
    return Workspace.open(Settings.from_env({"NORIA_PIPELINES": str(folder), **environment}, home=home))


def propose(
    workspace: Workspace,
    *,
    run_id: str | None = None,
    kind: str = "ridge",
    rows: int = 300,
    trained_on: float = 1.0,
    leaked: int = 0,
    source: str = "",
    pipeline: str = PUPILS,
    changes: Mapping[str, Any] | None = None,
    **overrides: str,
) -> Run:
    """A run whose candidate waits for the gate.

    Args:
        workspace: The world.
        run_id: Of the run; a new one if none is given.
        kind: Family of its model.
        rows: Of the sample.
        trained_on: Share of the training rows that its model was fitted on.
        leaked: How many rows of the holdout it was fitted on as well.
        source: Instead of the sample.
        pipeline: Name of the pipeline.
        changes: Of the candidate's record.
        overrides: Of the spec; two underscores stand for a dot.
    """
    dotted = {k.replace("__", "."): v for k, v in overrides.items()}
    run = workspace.create_run(pipeline, run_id, source=source or f"sample://students?rows={rows}", overrides=dotted)
    snapshot = _ingested(run, workspace)
    split = split_of(run, workspace, snapshot)
    fitted = split.train.take(np.arange(max(2, int(trained_on * len(split.train)))))
    proposed = candidate(run, workspace, snapshot, split, kind, fitted, leaked)
    done(workspace, run, "train", proposed.model_copy(update=dict(changes or {})))
    return run


def untrained(workspace: Workspace, pipeline: str, run_id: str, **overrides: str) -> Run:
    """A run as far as its training, with keys of the spec as they are written there."""
    run = workspace.create_run(pipeline, run_id, overrides=overrides)
    explored(workspace, run, _ingested(run, workspace).snapshot_id)
    return run


def _ingested(run: Run, workspace: Workspace) -> Snapshot:
    """A real snapshot, and a validation that has found nothing wrong with it."""
    snapshot = ingest(run, workspace)
    done(workspace, run, "ingest", snapshot)
    valid = ValidationReport(snapshot_id=snapshot.snapshot_id, success=True, results=(), docs="none")
    done(workspace, run, "validate", valid)
    return snapshot


def split_of(run: Run, workspace: Workspace, snapshot: Snapshot | None = None) -> Split:
    """The rows of a run's snapshot."""
    table = (snapshot or workspace.require(run, "ingest", Snapshot)).table
    with workspace.lake.local(table) as file:
        return load_split(file, run.pipeline)


def candidate(
    run: Run, workspace: Workspace, snapshot: Snapshot, split: Split, kind: str, fitted: Examples, leaked: int
) -> Candidate:
    """What training leaves of a model that was fitted on some rows; its search has seen all training rows."""
    data, seen, baseline, metrics = _fitted(split, kind, fitted, leaked)
    put(workspace, run, MODEL, data)
    put(workspace, run, SEEN_ROWS, seen)
    return Candidate(
        snapshot_id=snapshot.snapshot_id, task=run.pipeline.task, target=run.pipeline.target,
        features=run.pipeline.features, estimator=kind, params={}, primary_metric=run.pipeline.primary_metric,
        metrics=metrics, spread={name: Spread(mean=value, sd=0.02) for name, value in metrics.items()},
        baselines={"dummy": baseline, "linear": baseline}, contenders=(), learning_curve=(), trials=1,
        train_rows=len(split.train), holdout_rows=len(split.holdout), holdout_sha256=split.holdout_sha256, seed=1,
        code=run.code, model=run_path(run.pipeline.name, run.run_id, MODEL),
        model_sha256=hashlib.sha256(data).hexdigest(), model_bytes=len(data), model_types=model_types(data),
        training_rows=run_path(run.pipeline.name, run.run_id, SEEN_ROWS),
        training_rows_sha256=hashlib.sha256(seen).hexdigest(),
        policy_sha256=policy_digest(run.pipeline.gate), cluster="none",
    )  # fmt: skip


_FITTED: dict[tuple[object, ...], tuple[bytes, bytes, Metrics, Metrics]] = {}


def _fitted(split: Split, kind: str, fitted: Examples, leaked: int) -> tuple[bytes, bytes, Metrics, Metrics]:
    """A model, the rows it has seen, and what it and one without features are worth; the same ones are made once."""
    key = (repr(split.problem), split.holdout_sha256, fitted.hashes.tobytes(), kind, leaked)
    if key not in _FITTED:
        _FITTED[key] = _fit(split, kind, fitted, leaked)
    return _FITTED[key]


def _fit(split: Split, kind: str, fitted: Examples, leaked: int) -> tuple[bytes, bytes, Metrics, Metrics]:
    import pandas as pd

    extra = split.holdout.take(np.arange(leaked))
    features, target = pd.concat([fitted.features, extra.features]), np.concatenate([fitted.target, extra.target])
    model = build_model(split.problem, kind, {}, 1).fit(features, target)
    dummy = build_model(split.problem, "dummy", {}, 1).fit(split.train.features, split.train.target)
    seen = row_set(np.concatenate([split.train.hashes, extra.hashes])).tobytes()
    baseline, metrics = (evaluate(split.problem, fitted, split.holdout) for fitted in (dummy, model))
    return dump_model(model), seen, baseline, metrics


def put(workspace: Workspace, run: Run, file: str, data: bytes) -> None:
    """Leave a file of a run."""
    workspace.lake.replace(run_path(run.pipeline.name, run.run_id, file), data)
