"""Operators: a stage of a run as an Airflow task."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from noria.airflow.params import changes
from noria.compute.process import JobProcess
from noria.errors import NoriaError
from noria.records import STAGES, Run
from noria.settings import Settings
from noria.workspace import Workspace, safe_run_id

if TYPE_CHECKING:
    from airflow.sdk import Context


class StageOperator(BaseOperator):
    """Run one stage of a pipeline's run as a child process; the task's result is the record's lake path.

    An error that says it may pass is raised as it is, so that Airflow retries; any other one fails the task at once.

    Args:
        stage: Name of the stage; the first stage creates the run from the trigger form.
        pipeline: Name of the pipeline.
    """

    ui_color = "#e8f1f2"

    def __init__(self, *, stage: str, pipeline: str, **kwargs: Any) -> None:
        super().__init__(task_id=stage, **kwargs)
        self.stage = stage
        self.pipeline = pipeline
        self._job: JobProcess | None = None

    def execute(self, context: Context) -> str:
        """Run the stage to its end."""
        try:
            workspace = Workspace.open(Settings.from_env())
            run = self._find_run(context, workspace)
            return self._perform(run, workspace)
        except NoriaError as error:
            if error.retryable:
                raise
            raise AirflowFailException(str(error)) from None

    def on_kill(self) -> None:
        """End the job when the task is stopped."""
        if self._job is not None:
            self._job.kill()

    def _find_run(self, context: Context, workspace: Workspace) -> Run:
        run_id = safe_run_id(context["run_id"])
        if self.stage != STAGES[0]:
            return workspace.load_run(self.pipeline, run_id)
        overrides, source = changes(context["params"], context["dag"].params)
        return workspace.create_run(self.pipeline, run_id, overrides=overrides, source=source)

    def _perform(self, run: Run, workspace: Workspace) -> str:
        settings = workspace.settings
        self._job = JobProcess(
            self.stage,
            run,
            settings,
            credentials=_passwords(run.pipeline.connections),
            log_file=settings.log_file(run.pipeline.name, run.run_id, self.stage),
            on_line=self._relay,
        )
        return self._job.run()

    def _relay(self, line: str) -> None:
        """Write a line of the job's log at the level that it names."""
        level, _, message = line.partition(" ")
        number = logging.getLevelNamesMapping().get(level)
        self.log.log(number or logging.INFO, "%s", message if number else line)


def _passwords(conn_ids: tuple[str, ...]) -> Mapping[str, str]:
    """Passwords of those connections that exist; a public source needs none."""
    passwords = {}
    for conn_id in conn_ids:
        try:
            password = BaseHook.get_connection(conn_id).password
        except AirflowNotFoundException:
            continue
        if password:
            passwords[conn_id] = password
    return passwords
