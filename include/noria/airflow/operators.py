"""Operators: a stage of a run as an Airflow task."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psutil
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowSkipException

from noria.airflow.assets import event_facts
from noria.airflow.beginning import begun_run
from noria.airflow.connections import required_connection, stage_credentials, stage_workspace
from noria.airflow.links import DataDocsLink, ReportLink
from noria.airflow.remote import Deferring, JobLink, RemoteJob, platform, use_of
from noria.airflow.remote_stages import remote_stage
from noria.airflow.spark import HookSpark, connected_spark, stage_log
from noria.airflow.telling import errors_told, relay
from noria.compute.process import JobProcess
from noria.compute.spark import SparkRunner
from noria.errors import InputError, NoriaError
from noria.jobs.runner import keep_failure, run_job, run_stage
from noria.records import BEFORE_STAGES, STAGES, Decision, Record, Run, Snapshot
from noria.settings import Settings
from noria.workspace import Workspace, run_path, safe_run_id

if TYPE_CHECKING:
    from airflow.sdk import Context

ANNOUNCED: dict[str, type[Record]] = {"ingest": Snapshot, "promote": Decision, "release": Decision}
"""Stages whose record is an event of an asset."""


class StageOperator(Deferring):
    """Run one stage of a pipeline's run; the task's result is the record's lake path.

    It runs as a child process, or elsewhere where the profile says so; the task then sleeps until it has ended.

    An error that says it may pass is raised as it is, so that Airflow retries, and so is trouble of Airflow itself; any
    other one fails the task at once.
    The record's facts go with the event of the task's asset; where they are no event (a champion that stays), none is
    made.

    Args:
        stage: Name of the stage; the first stage creates the run from the trigger form.
        pipeline: Name of the pipeline.
    """

    ui_color = "#e8f1f2"
    operator_extra_links = (ReportLink(), DataDocsLink(), JobLink())
    outlets: list[Asset]

    def __init__(self, *, stage: str, pipeline: str, **kwargs: Any) -> None:
        super().__init__(task_id=stage, **kwargs)
        self.stage = stage
        self.pipeline = pipeline
        self._job: JobProcess | None = None

    def execute(self, context: Context) -> str:
        """Run the stage to its end, or hand it to a job elsewhere and sleep until that has ended.

        Raises:
            NoriaError: It may pass; Airflow retries.
            AirflowFailException: It will not; Airflow does not.
        """
        return self._told(context, self._start)

    def resume(self, context: Context, event: dict[str, Any]) -> str:
        """Take what the job elsewhere has left; raises as `execute` does."""
        return self._told(context, lambda run, workspace: self._finish(event, run, workspace))

    def on_kill(self) -> None:
        """End the job when the task is stopped."""
        super().on_kill()
        if self._job is not None:
            self._job.kill()

    def _told(self, context: Context, step: Callable[[Run, Workspace], str]) -> str:
        """Do a step of the run; what goes wrong is told in the stage's log and as an error that Airflow understands."""
        settings = Settings.from_env()
        log_file = settings.log_file(self.pipeline, safe_run_id(context["run_id"]), self.stage)
        with errors_told(self.stage, log_file, self.log):
            workspace = stage_workspace(self.stage, settings)
            run = self._find_run(context, workspace)
            reference = step(run, workspace)
            self._announce(run, workspace, context)
        return reference

    def _start(self, run: Run, workspace: Workspace) -> str:
        if self.stage == "report":  # what it tells may have changed since it was written
            workspace.lake.remove(run_path(self.pipeline, run.run_id, self.stage))
        remote = remote_stage(self.stage, workspace.settings)
        path = run_path(self.pipeline, run.run_id, self.stage)
        if remote is None or workspace.lake.exists(path):
            return self._perform(run, workspace)
        try:
            jobs = platform(remote.platform)(required_connection(remote.conn_id))
            job_id = remote.submit(jobs, run, workspace)
        except NoriaError as error:
            keep_failure(self.stage, error, run, workspace)
            raise
        raise self._deferral(RemoteJob(remote.platform, remote.conn_id, job_id), jobs)

    def _finish(self, event: dict[str, Any], run: Run, workspace: Workspace) -> str:
        remote = remote_stage(self.stage, workspace.settings)
        if remote is None:
            raise InputError(
                f"{self.stage} was handed to another platform, which the profile {workspace.settings.profile} has not",
                remedy="Clear the task, so that it begins anew.",
            )
        job, log = self._take_up(event)
        self._keep_log(log, run, workspace)
        use = use_of(job.jobs(), job.job_id)
        try:
            if event["state"] != "succeeded":
                if use is not None:
                    remote.account(run, workspace, use)
                raise remote.explain(self._failure(event), run, workspace)
            return remote.collect(run, workspace, use)
        except NoriaError as error:
            keep_failure(self.stage, error, run, workspace)
            raise

    def _keep_log(self, log: str, run: Run, workspace: Workspace) -> None:
        """Put the log of the job elsewhere into the stage's log, where a mail takes the last lines from."""
        file = workspace.settings.log_file(self.pipeline, run.run_id, self.stage)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as kept:
                kept.write(log)
        except OSError as error:
            self.log.warning("%s cannot be written: %s", file, error)

    def _find_run(self, context: Context, workspace: Workspace) -> Run:
        run_id = safe_run_id(context["run_id"])
        if self.stage == "report" and not workspace.lake.exists(run_path(self.pipeline, run_id, "run")):
            raise AirflowSkipException("The run could not begin, so there is nothing to report.")
        if self.stage == STAGES[0]:
            return begun_run(self.pipeline, context, workspace)
        stopped = run_path(self.pipeline, run_id, f"{BEFORE_STAGES}.failed.json")
        if self.stage == "report" and workspace.lake.exists(stopped):
            raise AirflowSkipException("The run was stopped before its first job, so there is nothing to report.")
        return workspace.load_run(self.pipeline, run_id)

    def _perform(self, run: Run, workspace: Workspace) -> str:
        settings = workspace.settings
        self._job = JobProcess(
            self.stage,
            run,
            settings,
            credentials=stage_credentials(self.stage, run, settings),
            log_file=settings.log_file(self.pipeline, run.run_id, self.stage),
            on_line=relay(self.log),
        )
        return run_job(self.stage, self._job, run, workspace)

    def _announce(self, run: Run, workspace: Workspace, context: Context) -> None:
        if not self.outlets:
            return
        facts = event_facts(workspace.require(run, self.stage, ANNOUNCED[self.stage]))
        if facts is None:
            self.outlets = []  # Airflow makes an event for each outlet that a task has when it succeeds
            return
        for asset in self.outlets:
            context["outlet_events"][asset].extra = facts


class SparkStageOperator(StageOperator):
    """Run a stage whose work is a Spark job: submitted from the task, to the cluster of the connection `spark_default`.

    Without such a connection Spark runs on this machine.
    """

    ui_color = "#fbe9dd"
    _spark: SparkRunner | None = None
    _others: Collection[psutil.Process] = frozenset()

    def _perform(self, run: Run, workspace: Workspace) -> str:
        settings = workspace.settings
        function = getattr(importlib.import_module(f"noria.stages.{self.stage}"), self.stage)
        self._spark = connected_spark(settings)
        self._others = set(psutil.Process().children(recursive=True))
        with stage_log(settings.log_file(self.pipeline, run.run_id, self.stage)):
            return run_stage(self.stage, function, run, replace(workspace, spark_runner=self._spark))

    def on_kill(self) -> None:
        """End the Spark job when the task is stopped."""
        super().on_kill()
        if self._spark is None:
            return
        if isinstance(self._spark, HookSpark):  # on a cluster it would outlive who submitted it
            self._spark.kill()
        for child in set(psutil.Process().children(recursive=True)) - set(self._others):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
