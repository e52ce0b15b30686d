"""What Airflow is told of a pipeline's retrain DAG: all but its tasks."""

from __future__ import annotations

from typing import Any

from noria.airflow.defaults import RETRAIN_SUFFIX, RETRAIN_TAGS, retrain_docs, task_defaults
from noria.airflow.late import deadline
from noria.airflow.notifiers import FailureNotifier, VerdictNotifier
from noria.airflow.params import retrain_params
from noria.pipeline import Pipeline


def dag_arguments(pipeline: Pipeline) -> dict[str, Any]:
    """Arguments of `DAG(...)`."""
    return {
        "dag_id": f"{pipeline.name}{RETRAIN_SUFFIX}",
        "description": pipeline.description,
        "doc_md": retrain_docs(pipeline),
        "schedule": pipeline.schedule,
        "catchup": False,
        "max_active_runs": 1,
        "tags": [*RETRAIN_TAGS, pipeline.name],
        "params": retrain_params(pipeline),
        "default_args": task_defaults(pipeline),
        "on_failure_callback": FailureNotifier(pipeline),
        "on_success_callback": VerdictNotifier(pipeline),
        "deadline": deadline(pipeline),
    }
