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
    pipeline, lake = run.pipeline, workspace.lake
    snapshot = workspace.require(run, "ingest", Snapshot)
    result = run_path(pipeline.name, run.run_id, "explore/profile.json")
    lake.remove(result)  # an earlier try's answer must not be taken for this one's
    arguments = ["--input", lake.url(snapshot.table), "--output", lake.url(result)]
    arguments += ["--spec", json.dumps(job_spec(pipeline))]
    log.info("%d columns and %d questions in one pass", len(pipeline.columns), len(pipeline.explore.questions))
    try:
        workspace.spark.submit(SCRIPT, arguments)
    except JobError as error:
        raise _explained(error, workspace, result) from None
    return _profile(json.loads(lake.read(result)), snapshot, pipeline, result)


def job_spec(pipeline: Pipeline) -> dict[str, Any]:
    """What the Spark job needs of the spec."""
    return {
        "columns": [c.model_dump(mode="json", include={"name", "type", "values"}) for c in pipeline.columns],
        "questions": [q.model_dump(mode="json", include={"title", "sql"}) for q in pipeline.explore.questions],
    }


def _explained(error: JobError, workspace: Workspace, result: str) -> SpecError | JobError:
    """The job's own account of what is wrong with the spec, if it left one."""
    if not workspace.lake.exists(result):
        return error
    account = json.loads(workspace.lake.read(result))
    if "error" not in account:
        return error
    return SpecError(
        f"explore.questions: {account['error']}",
        remedy="A question is one aggregate expression of Spark SQL over the declared columns.",
    )


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
