"""Tune every family on the training rows, judge the best of each, and propose one of them."""

from __future__ import annotations

import hashlib
import logging

from noria.compute.dask_cluster import dask_workers
from noria.compute.tracking import track
from noria.lake import scratch
from noria.models.examples import Split, load_split
from noria.models.space import check_estimators
from noria.models.store import model_types
from noria.models.training import Trained, fit_all
from noria.records import Candidate, Run, Snapshot, policy_digest
from noria.workspace import Workspace, run_path

log = logging.getLogger(__name__)
MODEL, SEEN_ROWS = "train/model.skops", "train/seen_rows.bin"
"""Files of a run: the model, and the hashes of all rows that it or its search has seen."""


def train(run: Run, workspace: Workspace) -> Candidate:
    """Train on the run's snapshot.

    Raises:
        SpecError: A hyper-parameter or a search space that its family does not have.
        InputError: The target is constant, there are too few rows, or no trial worked.
        JobError: The Dask cluster failed.
    """
    pipeline, settings = run.pipeline, workspace.settings
    check_estimators(pipeline.estimators, pipeline.task)
    snapshot = workspace.require(run, "ingest", Snapshot)
    with workspace.lake.local(snapshot.table) as table:
        split = load_split(table, pipeline)
    log.info("%d training rows, %d holdout rows", len(split.train), len(split.holdout))
    with (
        scratch(settings.home / "tmp") as folder,
        dask_workers(pipeline.tuning.workers, folder, settings.dask_address) as workers,
    ):
        trained = fit_all(split, pipeline, workers)
        rows = folder / "seen.bin"
        rows.write_bytes(trained.seen.tobytes())
        workspace.lake.put(rows, run_path(pipeline.name, run.run_id, SEEN_ROWS))
    workspace.lake.replace(run_path(pipeline.name, run.run_id, MODEL), trained.model)
    track(settings.tracked_run, trained.chosen.holdout, {"estimator": trained.chosen.name, **trained.chosen.params})
    return _candidate(run, snapshot, split, trained, cluster=workers.description)


def _candidate(run: Run, snapshot: Snapshot, split: Split, trained: Trained, *, cluster: str) -> Candidate:
    pipeline = run.pipeline
    return Candidate(
        snapshot_id=snapshot.snapshot_id,
        task=pipeline.task,
        target=pipeline.target,
        features=pipeline.features,
        estimator=trained.chosen.name,
        params=trained.chosen.params,
        primary_metric=pipeline.primary_metric,
        metrics=trained.chosen.holdout,
        spread=trained.chosen.cv,
        baselines=trained.baselines,
        contenders=trained.contenders,
        learning_curve=trained.learning_curve,
        trials=trained.trials,
        stopped_by=trained.stopped_by,
        search_seconds=round(trained.search_seconds, 3),
        train_rows=len(split.train),
        holdout_rows=len(split.holdout),
        holdout_sha256=split.holdout_sha256,
        seed=pipeline.seed,
        code=run.code,
        model=run_path(pipeline.name, run.run_id, MODEL),
        model_sha256=hashlib.sha256(trained.model).hexdigest(),
        model_bytes=len(trained.model),
        model_types=model_types(trained.model),
        training_rows=run_path(pipeline.name, run.run_id, SEEN_ROWS),
        training_rows_sha256=hashlib.sha256(trained.seen.tobytes()).hexdigest(),
        policy_sha256=policy_digest(pipeline.gate),
        cluster=cluster,
    )
