"""Accuracy on the students data: the linear baseline and the tuned candidate on many different holdouts, paired."""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from noria.compute.dask_cluster import dask_workers
from noria.lake import Lake, open_lake, scratch
from noria.models.examples import load_split
from noria.models.training import fit_all
from noria.pipeline import Pipeline
from noria.records import Metrics
from noria.settings import Settings
from noria.stages.ingest import ingest
from noria.workspace import Workspace

_PIPELINE = "students"
_SALTS, _QUICK_SALTS = 20, 3
_QUICK_TRIALS = 9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `noria bench accuracy`."""
    parser.add_argument("--source", metavar="URI", help="where the data is from (default: the pipeline's sample)")
    parser.add_argument("--salts", type=int, metavar="N", help=f"number of holdouts (default: {_SALTS})")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train once for each of several holdout salts; mean and spread of R² and MAE."""
    settings = Settings.from_env()
    count = max(2, args.salts or (_QUICK_SALTS if args.quick else _SALTS))
    with scratch(settings.home / "tmp") as folder:
        lake: Lake = open_lake(str(folder / "lake"))
        workspace = Workspace(settings.with_home(folder / "home"), lake)
        started = workspace.create_run(_PIPELINE, source=args.source, overrides=_overrides(quick=args.quick))
        snapshot = ingest(started, workspace)
        _tell(f"{snapshot.rows} rows, {count} holdouts, {started.pipeline.tuning.trials} trials each")
        with (
            lake.local(snapshot.table) as table,
            dask_workers(started.pipeline.tuning.workers, folder / "dask", settings.dask_address) as workers,
        ):
            results = []
            for salt in range(count):
                pipeline = _with_salt(started.pipeline, f"bench-{salt}")
                trained = fit_all(load_split(table, pipeline), pipeline, workers)
                results.append((trained.chosen.name, trained.chosen.holdout, trained.baselines))
                r2 = trained.chosen.holdout["r2"], trained.baselines["linear"]["r2"]
                _tell(f"holdout {salt + 1} of {count}: {trained.chosen.name} r2 {r2[0]:.4f}, linear {r2[1]:.4f}")
    return {"source": started.pipeline.source.uri, "rows": snapshot.rows, "holdouts": count, **_summary(results)}


def _overrides(*, quick: bool) -> dict[str, str]:
    fewer = {"tuning.trials": str(_QUICK_TRIALS), "evaluation.seeds": "2"} if quick else {}
    return {"evaluation.learning_curve": "[0.9]", **fewer}


def _with_salt(pipeline: Pipeline, salt: str) -> Pipeline:
    return pipeline.model_copy(update={"holdout": pipeline.holdout.model_copy(update={"salt": salt})})


def _summary(results: list[tuple[str, Metrics, dict[str, Metrics]]]) -> dict[str, Any]:
    chosen = [name for name, _, _ in results]
    summary: dict[str, Any] = {}
    for metric in ("r2", "mae"):
        linear = [baselines["linear"][metric] for _, _, baselines in results]
        candidate = [metrics[metric] for _, metrics, _ in results]
        pairs = [c - b for c, b in zip(candidate, linear, strict=True)]
        for name, values in (("linear", linear), ("candidate", candidate), ("difference", pairs)):
            summary[f"{name}_{metric}_mean"] = round(statistics.fmean(values), 5)
            summary[f"{name}_{metric}_sd"] = round(statistics.stdev(values), 5)
    return {**summary, "chosen": {name: chosen.count(name) for name in sorted(set(chosen))}}


def _tell(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201
