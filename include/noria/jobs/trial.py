"""One trial of a search: `python -m noria.jobs.trial --pipeline P --run-id R --estimator K --set name=value ...`.

It scores one point of one estimator's search space on the run's snapshot, by the same folds as a local search, and
leaves the score in the lake at `runs/<pipeline>/<run_id>/search/<estimator>/[<key>/]<hash of the point>.json`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence

from noria.compute.azureml.sweep import point_of
from noria.compute.ending import ended_by_sigterm
from noria.compute.tracking import track
from noria.errors import InputError, NoriaError, SpecError
from noria.jobs.metering import Metering
from noria.models.examples import load_split
from noria.models.space import search_space
from noria.models.tuning import Training, TrialJob, fold_scores
from noria.pipeline import EstimatorSpec, Scalar, greater_is_better
from noria.records import Run, Snapshot
from noria.settings import Settings
from noria.workspace import Workspace, run_path

log = logging.getLogger("noria")


def main() -> None:
    """Parse the arguments, score the point, and exit with the error's code."""
    parser = argparse.ArgumentParser(prog="python -m noria.jobs.trial", description=__doc__)
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--estimator", required=True)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyper-parameter")
    parser.add_argument("--report-folds", action="store_true", help="log the mean so far after each fold")
    parser.add_argument("--key", default="", help="folder of the scores of this search")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    logging.getLogger("azure").setLevel(logging.WARNING)  # it tells every request with its headers
    try:
        workspace = Workspace.open(Settings.from_env())
        run = workspace.load_run(args.pipeline, args.run_id)
        spec = _spec(run, args.estimator)
        point = _point(run, spec, args.set)
        metering = Metering(f"search-{spec.kind}", run.pipeline.name, run.run_id, workspace, whole_process=True)
        with ended_by_sigterm(), metering:
            score_point(run, metering.workspace, spec, point, report_folds=args.report_folds, key=args.key)
    except NoriaError as error:
        log.error("%s", error)
        sys.exit(int(error.exit_code))


def score_point(
    run: Run,
    workspace: Workspace,
    spec: EstimatorSpec,
    point: Mapping[str, Scalar | None],
    *,
    report_folds: bool,
    key: str = "",
) -> float:
    """The mean of the primary metric over the folds; it is logged to the platform's run and kept in the lake.

    Args:
        run: The run whose snapshot is learned from.
        workspace: The world.
        spec: The estimator.
        point: Its hyper-parameters beside those that the spec fixes.
        report_folds: Whether the mean so far is logged after each fold, for a platform that ends bad trials early.
        key: Folder of the scores of this search.
    """
    pipeline, tracked = run.pipeline, workspace.settings.tracked_run
    started = time.monotonic()
    with workspace.lake.local(workspace.require(run, "ingest", Snapshot).table) as table:
        split = load_split(table, pipeline)
    job = TrialJob(spec.kind, {**spec.params, **point}, pipeline.tuning.folds, pipeline.seed)
    scores: list[float] = []
    for fold in fold_scores(Training(split.problem, split.train), job):
        scores.append(fold)
        if report_folds and len(scores) < pipeline.tuning.folds:
            track(tracked, {pipeline.primary_metric: math.fsum(scores) / len(scores)}, step=len(scores))
    score = math.fsum(scores) / len(scores)
    track(tracked, {pipeline.primary_metric: score}, job.params, step=len(scores))
    log.info("trial of %s: %s %.4f with %s", spec.kind, pipeline.primary_metric, score, json.dumps(job.params))
    result = {
        "estimator": spec.kind,
        "params": job.params,
        "metric": pipeline.primary_metric,
        "score": score,
        "seconds": round(time.monotonic() - started, 3),
    }
    workspace.lake.replace(_path(run, spec.kind, key, job.params), json.dumps(result, indent=2).encode() + b"\n")
    return score


def best_trial(run: Run, workspace: Workspace, estimator: str, key: str = "") -> dict[str, object]:
    """The best of the trials that a search of this run has left; the first by name of equals.

    Args:
        run: The run.
        workspace: The world.
        estimator: What was searched.
        key: The search's folder; without one the best of all searches.

    Raises:
        InputError: There is none with a finite score.
    """
    folder = run_path(run.pipeline.name, run.run_id, f"search/{estimator}/{key}")
    found = [json.loads(workspace.lake.read(path)) for path in workspace.lake.list(folder.rstrip("/"))]
    finite = [trial for trial in found if math.isfinite(trial["score"])]
    if not finite:
        raise InputError(f"no trial of {estimator} left a score in {workspace.lake.url(folder)}")
    best = max if greater_is_better(run.pipeline.primary_metric) else min
    return dict(best(finite, key=lambda trial: trial["score"]))


def _spec(run: Run, kind: str) -> EstimatorSpec:
    for spec in run.pipeline.estimators:
        if spec.kind == kind:
            return spec
    known = ", ".join(spec.kind for spec in run.pipeline.estimators)
    raise SpecError(f"{run.pipeline.name} has no estimator {kind}", expected=f"one of {known}")


def _point(run: Run, spec: EstimatorSpec, settings: Sequence[str]) -> dict[str, Scalar | None]:
    space = search_space(spec, run.pipeline.task)
    point: dict[str, Scalar | None] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in space:
            raise SpecError(f"{spec.kind} does not search {name!r}", expected=f"one of {', '.join(space)}")
        try:
            point[name] = point_of(space[name], text)
        except (ValueError, StopIteration):
            raise SpecError(f"{name}={text} is no point of the search space of {spec.kind}") from None
    return point


def _path(run: Run, estimator: str, key: str, params: Mapping[str, Scalar | None]) -> str:
    digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:16]
    folder = f"search/{estimator}/{key}".rstrip("/")
    return run_path(run.pipeline.name, run.run_id, f"{folder}/{digest}.json")


if __name__ == "__main__":
    main()
