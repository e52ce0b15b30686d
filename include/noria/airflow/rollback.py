"""What a pipeline's rollback DAG is made of: its arguments and its one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator

from noria.airflow.assets import event_facts
from noria.airflow.connections import open_workspace, signing_credentials
from noria.airflow.defaults import ROLLBACK_SUFFIX, ROLLBACK_TAGS, rollback_docs, task_defaults
from noria.airflow.notifiers import FailedRollbackNotifier, RollbackNotifier
from noria.airflow.params import rollback_params
from noria.airflow.telling import errors_told, relay
from noria.compute.process import ChildJob
from noria.pipeline import Pipeline
from noria.records import Rollback
from noria.settings import Settings
from noria.workspace import safe_run_id

if TYPE_CHECKING:
    from airflow.sdk import Context

UNKNOWN = "somebody in Airflow"
"""Who asks, where Airflow does not say who triggered the run."""


def rollback_arguments(pipeline: Pipeline) -> dict[str, Any]:
    """Arguments of `DAG(...)`."""
    return {
        "dag_id": f"{pipeline.name}{ROLLBACK_SUFFIX}",
        "description": f"Go back to a former champion of {pipeline.name}",
        "doc_md": rollback_docs(pipeline),
        "schedule": None,
        "catchup": False,
        "max_active_runs": 1,
        "tags": [*ROLLBACK_TAGS, pipeline.name],
        "params": rollback_params(),
        "default_args": task_defaults(pipeline),
        "on_failure_callback": FailedRollbackNotifier(pipeline),
        "on_success_callback": RollbackNotifier(pipeline),
    }


class RollbackOperator(BaseOperator):
    """Make a former champion the champion again, as a child process; the task's result is the record's lake path.

    A retry completes what a killed one began, since both have the same key.

    Args:
        pipeline: Name of the pipeline.
    """

    ui_color = "#f8d7da"
    outlets: list[Asset]

    def __init__(self, *, pipeline: str, **kwargs: Any) -> None:
        super().__init__(task_id="rollback", **kwargs)
        self.pipeline = pipeline
        self._job: ChildJob | None = None

    def execute(self, context: Context) -> str:
        """Roll back.

        Raises:
            NoriaError: It may pass; Airflow retries.
            AirflowFailException: It will not; Airflow does not.
        """
        settings, key = Settings.from_env(), safe_run_id(context["run_id"])
        log_file = settings.log_file(self.pipeline, key, "rollback")
        with errors_told("rollback", log_file, self.log):
            self._job = ChildJob(
                "rollback",
                self._arguments(context, key),
                settings,
                credentials=signing_credentials(settings),
                log_file=log_file,
                on_line=relay(self.log),
            )
            reference = self._job.run()
            self._announce(Rollback.model_validate_json(open_workspace(settings).lake.read(reference)), context)
        return reference

    def on_kill(self) -> None:
        """End the job when the task is stopped."""
        if self._job is not None:
            self._job.kill()

    def _arguments(self, context: Context, key: str) -> list[str]:
        params = context["params"]
        version = str(params["version"] or "").strip()
        by = getattr(context["dag_run"], "triggering_user_name", None) or UNKNOWN
        # With "=", a reason that begins with a dash is no option.
        return [
            f"--pipeline={self.pipeline}",
            f"--key={key}",
            f"--by={by}",
            f"--reason={params['reason'].strip()}",
            *([f"--to={version}"] if version else []),
        ]

    def _announce(self, rollback: Rollback, context: Context) -> None:
        facts = event_facts(rollback)
        if facts is None:
            self.outlets = []  # Airflow makes an event for each outlet that a task has when it succeeds
        for asset in self.outlets:
            context["outlet_events"][asset].extra = facts
