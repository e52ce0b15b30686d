"""Entry script of a parallel job on Azure ML: a few Parquet files at a time, one row of figures for each.

Azure ML calls `init()` once in each worker process and `run(files)` for each mini-batch; see "parallel job" in
https://learn.microsoft.com/azure/machine-learning/how-to-use-parallel-job-in-pipeline

The figures of a partition are those of the pipeline's first estimator with its own defaults, by the same folds as a
search: a first answer to which partitions can be learned at all. Each row also stands in the lake, at
`runs/<pipeline>/<run_id>/partitions/[<key>/]<path in the folder>.json`, so a batch that is tried again changes nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from noria.errors import InputError
from noria.models.examples import load_split
from noria.models.tuning import Training, TrialJob, run_trial
from noria.records import Run
from noria.settings import Settings
from noria.workspace import Workspace, run_path

log = logging.getLogger("noria")


@dataclass
class _Worker:
    run: Run
    workspace: Workspace
    files: list[str]
    key: str


_workers: list[_Worker] = []


def init() -> None:
    """Open the run that the job's arguments name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--url", required=True, help="the folder of the partitions")
    parser.add_argument("--key", default="", help="folder of the rows")
    args, _ = parser.parse_known_args(sys.argv[1:])  # Azure ML's driver has arguments of its own there
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    logging.getLogger("azure").setLevel(logging.WARNING)  # it tells every request with its headers
    workspace = Workspace.open(Settings.from_env())
    run = workspace.load_run(args.pipeline, args.run_id)
    _workers[:] = [_Worker(run, workspace, _files(workspace, args.url), args.key)]


def run(mini_batch: Sequence[str]) -> list[str]:
    """One row of JSON for each file, in the order of the files."""
    worker = _workers[0]
    return [json.dumps(_keep(Path(file), worker)) for file in mini_batch]


def row_of(file: Path, name: str, run: Run) -> dict[str, object]:
    """Figures of one partition; one that is too small, or whose target is constant, says so instead."""
    pipeline = run.pipeline
    row: dict[str, object] = {"partition": name, "metric": pipeline.primary_metric}
    try:
        split = load_split(file, pipeline)
    except InputError as error:
        row["error"] = str(error)
    else:
        spec = pipeline.estimators[0]
        job = TrialJob(spec.kind, dict(spec.params), pipeline.tuning.folds, pipeline.seed)
        score, _seconds = run_trial(Training(split.problem, split.train), job)
        row |= {"rows": len(split.train), "estimator": spec.kind, "score": score if math.isfinite(score) else None}
    return row


def partition_name(file: Path, files: Sequence[str]) -> str:
    """A partition's path in its folder, without the suffix.

    Azure ML tells where a file is mounted on the node, but not where the mount begins.

    Args:
        file: Where it is mounted.
        files: Paths of all files in the folder.
    """
    ends = [path for path in files if file.as_posix().endswith(f"/{path}")]
    return str(PurePosixPath(max(ends, key=len, default=file.name)).with_suffix(""))


def _files(workspace: Workspace, url: str) -> list[str]:
    folder = url.removeprefix(workspace.lake.root.rstrip("/")).strip("/")
    return [path.removeprefix(f"{folder}/") for path in workspace.lake.list(folder)]


def _keep(file: Path, worker: _Worker) -> dict[str, object]:
    name = partition_name(file, worker.files)
    row = row_of(file, name, worker.run)
    folder = f"partitions/{worker.key}".rstrip("/")
    path = run_path(worker.run.pipeline.name, worker.run.run_id, f"{folder}/{name}.json")
    worker.workspace.lake.replace(path, json.dumps(row, indent=2).encode() + b"\n")
    log.info("partition %s: %s", name, row.get("score", row.get("error")))
    return row
