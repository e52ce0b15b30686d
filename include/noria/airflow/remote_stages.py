"""Stages that the profile azure hands to a job elsewhere: what is submitted, and what is taken when it has ended."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from noria.azure import ML, SYNAPSE
from noria.compute.remote import JobUse
from noria.costs.usage import keep_usage
from noria.errors import JobError, NoriaError, as_raised
from noria.jobs.metering import keep_untold
from noria.jobs.runner import run_stage
from noria.records import Failure, Run
from noria.settings import Settings
from noria.workspace import Workspace, job_name, job_tags, run_path

if TYPE_CHECKING:
    from noria.compute.azureml import AzureMLJobs
    from noria.compute.synapse import SynapseJobs

log = logging.getLogger(__name__)


class RemoteStage(Protocol):
    """How a stage runs elsewhere."""

    conn_id: str
    platform: str

    def submit(self, jobs: Any, run: Run, workspace: Workspace) -> str:
        """Submit the job, unless an earlier try has; its id."""

    def collect(self, run: Run, workspace: Workspace, use: JobUse | None) -> str:
        """The lake path of the stage's record, once the job has succeeded; the job's use goes into it."""

    def account(self, run: Run, workspace: Workspace, use: JobUse) -> None:
        """Keep what a job used that did not succeed."""

    def explain(self, error: NoriaError, run: Run, workspace: Workspace) -> NoriaError:
        """What the job itself said of its failure, if it did."""


class ExploreOnSynapse:
    """`spark_jobs/explore.py` as a Spark batch; the record is made of what it leaves."""

    conn_id = SYNAPSE
    platform = "noria.airflow.synapse.jobs"

    def submit(self, jobs: SynapseJobs, run: Run, workspace: Workspace) -> str:
        """Submit the batch."""
        from noria.stages.explore import SCRIPT, forget_error, spark_arguments

        forget_error(run, workspace)
        arguments = spark_arguments(run, workspace)
        return jobs.submit(
            job_name(run, "explore"), SCRIPT, arguments, lake=workspace.lake, tags=job_tags(run, "explore")
        )

    def collect(self, run: Run, workspace: Workspace, use: JobUse | None) -> str:
        """Make the record."""
        from noria.stages.explore import collect

        elsewhere = [use.of(run, "explore", "done")] if use else []
        return run_stage("explore", collect, run, replace(workspace, elsewhere=elsewhere))

    def account(self, run: Run, workspace: Workspace, use: JobUse) -> None:
        """A batch leaves no account of its own."""
        keep_usage(use.of(run, "explore", "failed"), workspace.lake)

    def explain(self, error: NoriaError, run: Run, workspace: Workspace) -> NoriaError:
        """A question that Spark cannot answer is the spec's fault."""
        from noria.stages.explore import explained

        return explained(error, run, workspace) if isinstance(error, JobError) else error


class TrainOnAzureML:
    """`python -m noria.jobs.train` as a command job, which leaves the record itself."""

    conn_id = ML
    platform = "noria.airflow.azureml.jobs"

    def submit(self, jobs: AzureMLJobs, run: Run, workspace: Workspace) -> str:
        """Submit the job."""
        workspace.lake.remove(_failure_path("train", run))  # an earlier try's
        return jobs.submit_stage(
            "train", run, workspace.settings, name=job_name(run, "train"), tags=job_tags(run, "train")
        )

    def collect(self, run: Run, workspace: Workspace, use: JobUse | None) -> str:
        """Find the record; the job has accounted for itself."""
        path = run_path(run.pipeline.name, run.run_id, "train")
        if not workspace.lake.exists(path):
            raise JobError(f"the job ended well, but {workspace.lake.url(path)} is not there")
        return path

    def account(self, run: Run, workspace: Workspace, use: JobUse) -> None:
        """A node that was not killed has accounted for itself."""
        keep_untold(use, run, "train", workspace.lake)

    def explain(self, error: NoriaError, run: Run, workspace: Workspace) -> NoriaError:
        """The job keeps its failure beside the records."""
        try:
            failure = Failure.model_validate_json(workspace.lake.read(_failure_path("train", run)))
        except FileNotFoundError:
            return error
        return as_raised(failure.error, failure.message)


def remote_stage(stage: str, settings: Settings) -> RemoteStage | None:
    """Where a stage runs if not on this machine."""
    if settings.profile != "azure":
        return None
    stages: dict[str, RemoteStage] = {"explore": ExploreOnSynapse(), "train": TrainOnAzureML()}
    return stages.get(stage)


def _failure_path(stage: str, run: Run) -> str:
    return run_path(run.pipeline.name, run.run_id, f"{stage}.failed.json")
