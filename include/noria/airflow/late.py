"""Late runs: Airflow's deadline on a retrain DAG, and what the triggerer does when one is missed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from noria.airflow.connections import azure_connections
from noria.airflow.defaults import APPROVE_TASK, BUDGET_TASK
from noria.airflow.links import approval_url, run_url, task_url
from noria.airflow.mail import tell
from noria.alerts.late import asks_people, late_alert
from noria.errors import NoriaError
from noria.pipeline import Alerts, Pipeline
from noria.records import BEFORE_STAGES
from noria.settings import Settings
from noria.workspace import Workspace, safe_run_id

ENDED = ("success", "failed")


def deadline(pipeline: Pipeline) -> DeadlineAlert | None:
    """Airflow's deadline of a pipeline's runs, if there is one and somebody wants to hear of it."""
    minutes = pipeline.alerts.deadline_minutes
    if minutes is None or not pipeline.alerts.emails:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(minutes=minutes),
        callback=AsyncCallback(
            tell_late, kwargs={"pipeline": pipeline.name, "policy": pipeline.alerts.model_dump(mode="json")}
        ),
    )


async def tell_late(pipeline: str, policy: dict[str, Any], context: dict[str, Any]) -> None:
    """Mail about a run that is late; Airflow calls it in the triggerer, whose loop it does not hold up.

    Args:
        pipeline: Its name.
        policy: `alerts` of its spec.
        context: What the scheduler says of the run.
    """
    await asyncio.to_thread(_tell_late, pipeline, Alerts.model_validate(policy), context["dag_run"])


def _tell_late(pipeline: str, policy: Alerts, dag_run: dict[str, Any]) -> None:
    if dag_run["state"] in ENDED or policy.deadline_minutes is None:
        return
    settings = Settings.from_env()
    workspace = Workspace.open(settings, azure_connections(settings))
    dag_id, run_id = dag_run["dag_id"], dag_run["dag_run_id"]
    key = safe_run_id(run_id)
    try:
        run = workspace.load_run(pipeline, key)
    except NoriaError:
        run = None
    begun = datetime.fromisoformat(dag_run["queued_at"])
    links = [("Run", run_url(dag_id, run_id))]
    if run and (asks := asks_people(run, workspace)):
        task_id = BUDGET_TASK if asks == BEFORE_STAGES else APPROVE_TASK
        links.insert(0, ("Approve or decline", approval_url(dag_id, run_id, task_id)))
    alert = late_alert(pipeline, key, workspace, run=run, minutes=policy.deadline_minutes, begun=begun, links=links)
    if alert.log_stage:
        task = (f"Log of {alert.log_stage}", task_url(dag_id, run_id, alert.log_stage))
        alert = replace(alert, links=[*links, task])
    tell([alert], policy, workspace)
