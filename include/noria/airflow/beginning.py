"""The run of a DAG run: created by the first task, from the trigger form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noria.airflow.asking import REASON
from noria.airflow.links import run_url
from noria.airflow.params import changes
from noria.records import Run
from noria.workspace import Workspace, safe_run_id

if TYPE_CHECKING:
    from airflow.sdk import Context


def begun_run(pipeline: str, context: Context, workspace: Workspace) -> Run:
    """Freeze the run, unless it was before.

    Raises:
        SpecError: The pipeline, or what the form changes of it, is wrong.
        InputError: The form has no such field.
    """
    dag = context["dag"]
    # A task that asks has a form of its own beside that of the DAG.
    form = {name: value for name, value in context["params"].items() if name in dag.params or name != REASON}
    overrides, source = changes(form, dag.params)
    ui_url = run_url(dag.dag_id, context["run_id"])
    run_id = safe_run_id(context["run_id"])
    return workspace.create_run(pipeline, run_id, overrides=overrides, source=source, ui_url=ui_url)
