"""Profile every column of the snapshot and answer the spec's questions, on Spark."""

from __future__ import annotations

import json
import logging
from typing import Any

from noria.errors import JobError, SpecError
from noria.pipeline import Pipeline
from noria.records import Answer, ColumnProfile, Profile, Run, Snapshot
from noria.settings import CHECKOUT
from noria.workspace import Workspace, run_path

log = logging.getLogger(__name__)
SCRIPT = CHECKOUT / "spark_jobs" / "explore.py"


def explore(run: Run, workspace: Workspace) -> Profile:
    """Run `spark_jobs/explore.py` on the snapshot's table.

    Raises:
        SpecError: A question is not an aggregate expression with a number for an answer.
        JobError: Spark ended without a result.
    """
    arguments = spark_arguments(run, workspace)
    workspace.lake.remove(_result(run))  # an earlier try's answer must not be taken for this one's
    try:
        workspace.spark(run, "explore").submit(SCRIPT, arguments)
    except JobError as error:
        raise explained(error, run, workspace) from None
    return collect(run, workspace)


def spark_arguments(run: Run, workspace: Workspace) -> list[str]:
    """What the script is called with, wherever it runs."""
    pipeline, lake = run.pipeline, workspace.lake
    snapshot = workspace.require(run, "ingest", Snapshot)
    log.info("%d columns and %d questions in one pass", len(pipeline.columns), len(pipeline.explore.questions))
    places = ["--input", lake.url(snapshot.table), "--output", lake.url(_result(run))]
    return [*places, "--spec", json.dumps(job_spec(pipeline))]


def collect(run: Run, workspace: Workspace) -> Profile:
    """What the script has left in the lake.

    Raises:
        JobError: It has left nothing, or what was cut off.
    """
    document = _left(run, workspace)
    if document is None or "error" in document:
        raise JobError(f"Spark ended well, but {workspace.lake.url(_result(run))} is not there, or is no profile")
    return _profile(document, workspace.require(run, "ingest", Snapshot), run.pipeline, _result(run))


def forget_error(run: Run, workspace: Workspace) -> None:
    """Remove an earlier job's account of what is wrong, so that it is not taken for the next one's.

    Anything else stays: it may be of a job that still runs and is found again, and what was cut off counts as nothing.
    """
    if "error" in (_left(run, workspace) or {}):
        workspace.lake.remove(_result(run))


def job_spec(pipeline: Pipeline) -> dict[str, Any]:
    """What the Spark job needs of the spec."""
    return {
        "columns": [c.model_dump(mode="json", include={"name", "type", "values"}) for c in pipeline.columns],
        "questions": [q.model_dump(mode="json", include={"title", "sql"}) for q in pipeline.explore.questions],
    }


def explained(error: JobError, run: Run, workspace: Workspace) -> SpecError | JobError:
    """The job's own account of what is wrong with the spec, if it left one."""
    account = _left(run, workspace)
    if account is None or "error" not in account:
        return error
    return SpecError(
        f"explore.questions: {account['error']}",
        remedy="A question is one aggregate expression of Spark SQL over the declared columns.",
    )


def _left(run: Run, workspace: Workspace) -> dict[str, Any] | None:
    """What the script wrote; none where it wrote nothing, or was killed while it did."""
    try:
        document = json.loads(workspace.lake.read(_result(run)))
    except (FileNotFoundError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _result(run: Run) -> str:
    return run_path(run.pipeline.name, run.run_id, "explore/profile.json")


def _profile(document: dict[str, Any], snapshot: Snapshot, pipeline: Pipeline, result: str) -> Profile:
    formats = [q.format for q in pipeline.explore.questions]
    return Profile(
        snapshot_id=snapshot.snapshot_id,
        rows=document["rows"],
        columns=tuple(ColumnProfile.model_validate(column) for column in document["columns"]),
        correlation_columns=document["correlation_columns"],
        correlation=document["correlation"],
        answers=tuple(Answer(**a, format=f) for a, f in zip(document["answers"], formats, strict=True)),
        result=result,
        spark_version=document["spark_version"],
    )
