"""Azure ML in Airflow: a hook, and operators that submit a job and sleep until it has ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseHook, BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from noria.airflow.connections import open_workspace, required_connection
from noria.airflow.remote import JobLink, RemoteJob, RemoteJobOperator, final_errors, use_of
from noria.azure import ML, AzureConnection
from noria.compute.azureml import AzureMLJobs, Partitions, Search
from noria.costs.usage import keep_usage
from noria.errors import SpecError, VerdictError
from noria.jobs.metering import keep_untold
from noria.records import Candidate, ChampionVersion, Decision, Run
from noria.settings import Settings
from noria.verdicts import new_id
from noria.workspace import Workspace, job_name, job_tags, run_path, safe_run_id

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk import Context

    from noria.compute.azureml.sweep import Sampling, Stopping
    from noria.registry import Registry


def jobs(connection: AzureConnection) -> AzureMLJobs:
    """The jobs of the workspace that a connection names; what a trigger is told."""
    return AzureMLJobs(connection)


class AzureMLHook(BaseHook):
    """The jobs of an Azure ML workspace, by a connection of the azure provider's type `azure`.

    Login and password are a service principal, or both are empty. The extra has `subscriptionId`, `tenantId`,
    `resourceGroup`, `workspace` and `compute`, and where needed `nodes` and `identity_client_id`.

    Args:
        azureml_conn_id: The connection's id.
    """

    conn_name_attr = "azureml_conn_id"
    default_conn_name = ML
    conn_type = "azure"
    hook_name = "Azure ML (Noria)"

    def __init__(self, azureml_conn_id: str = ML) -> None:
        super().__init__()
        self.azureml_conn_id = azureml_conn_id

    def get_conn(self) -> AzureMLJobs:
        """The workspace's jobs."""
        return jobs(required_connection(self.azureml_conn_id))


class StudioLink(JobLink):
    """Button on a task: the job in Azure ML Studio."""

    name = "Azure ML Studio"


class AzureMLJobOperator(RemoteJobOperator):
    """Base of operators for jobs of a pipeline's run: `ingest` has created the run, under the id of the DAG's run.

    The task sleeps while the job runs (it holds no worker), shows the driver's log line by line, ends the job when it
    is ended itself or its `execution_timeout` is over, and fails with Azure ML's reason. The job's name follows from
    the run (and that of a search or of partitions from the task and its arguments too), so a try after a lost worker
    finds the job that runs; one after a job that failed submits another.

    Args:
        pipeline: Name of the pipeline.
        run_id: Id of the DAG's run that is worked on.
        conn_id: A connection of the type `azure`; see AzureMLHook.
    """

    ui_color = "#e4ecfb"
    platform = "noria.airflow.azureml.jobs"
    operator_extra_links = (StudioLink(),)
    template_fields: Sequence[str] = ("pipeline", "run_id", "conn_id")

    def __init__(self, *, pipeline: str, run_id: str = "{{ run_id }}", conn_id: str = ML, **kwargs: Any) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        self.pipeline = pipeline
        self.run_id = run_id

    def _open(self) -> tuple[Run, Workspace]:
        return _open(self.pipeline, self.run_id)

    def _keep_use(self, job: RemoteJob, stage: str, outcome: Literal["done", "failed", "killed"]) -> None:
        if use := use_of(job.jobs(), job.job_id):
            run, workspace = self._open()
            keep_usage(use.of(run, stage, outcome), workspace.lake)

    def _key(self, context: Context, **arguments: object) -> str:
        """Keeps jobs of one run apart: a hash of task, map index and what the job does; the same at each try."""
        facts = {"task": self.task_id, "index": getattr(context.get("ti"), "map_index", -1), **arguments}
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:8]


class AzureMLCommandOperator(AzureMLJobOperator):
    """Run a stage of a pipeline's run as a command job, `python -m noria.jobs.<stage>`.

        AzureMLCommandOperator(
            task_id="train",
            pipeline="students",
            execution_timeout=timedelta(hours=2),
            retries=2,
        )

    A training runs on as many nodes as `extra.nodes` of the connection says, with Dask between them. The result is the
    lake path of the stage's record.

    Args:
        stage: Name of the stage; it needs nothing but the lake.
    """

    def __init__(self, *, stage: str = "train", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage = stage

    def submit(self, jobs: AzureMLJobs, context: Context) -> str:
        """Submit the job, unless an earlier try has; its id."""
        run, workspace = self._open()
        name, tags = job_name(run, self.stage), job_tags(run, self.stage)
        return jobs.submit_stage(self.stage, run, workspace.settings, name=name, tags=tags)

    def account(self, job: RemoteJob, *, succeeded: bool) -> None:
        """A node that was not killed has accounted for itself."""
        if not succeeded and (use := use_of(job.jobs(), job.job_id)):
            run, workspace = self._open()
            keep_untold(use, run, self.stage, workspace.lake)

    def finish(self, job: RemoteJob, context: Context) -> str:
        """The lake path of the record."""
        run, _ = self._open()
        return run_path(run.pipeline.name, run.run_id, self.stage)


class AzureMLSweepOperator(AzureMLJobOperator):
    """Search the hyper-parameters of one estimator as a sweep job: each trial is a job on a node of its own.

        AzureMLSweepOperator(
            task_id="search",
            pipeline="students",
            estimator="xgboost",
            trials=40,
            concurrent=4,
            stopping="median",
        )

    The space is that of pipeline.yaml; what Azure ML cannot say fails the task before anything is submitted. The result
    is the best trial: `{"estimator", "params", "metric", "score", "seconds"}`. A sweep that Azure ML has ended by the
    pipeline's `tuning.max_vcpu_seconds` has the best one so far, and says `"stopped_by": "cap"`.

    Args:
        estimator: A family of the pipeline's estimators.
        trials: How many points are tried; the default is the pipeline's `tuning.trials`.
        concurrent: How many at once.
        sampling: `random`, `bayesian` or `grid`.
        stopping: `bandit` or `median` ends trials that are behind; none lets all run to their end.
    """

    template_fields = (*AzureMLJobOperator.template_fields, "estimator")

    def __init__(
        self,
        *,
        estimator: str,
        trials: int | None = None,
        concurrent: int = 2,
        sampling: Sampling = "random",
        stopping: Stopping | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.estimator, self.trials, self.concurrent = estimator, trials, concurrent
        self.sampling, self.stopping = sampling, stopping

    def submit(self, jobs: AzureMLJobs, context: Context) -> str:
        """Submit the job, unless an earlier try has; its id."""
        from noria.models.space import search_space

        run, workspace = self._open()
        pipeline, key = run.pipeline, self._search_key(context)
        stage = f"search-{self.estimator}"
        spec = next((e for e in pipeline.estimators if e.kind == self.estimator), None)
        if spec is None:
            known = ", ".join(e.kind for e in pipeline.estimators)
            raise SpecError(f"{pipeline.name} has no estimator {self.estimator}", expected=f"one of {known}")
        search = Search(
            self.estimator,
            search_space(spec, pipeline.task),
            self.trials or pipeline.tuning.trials,
            self.concurrent,
            self.sampling,
            self.stopping,
            key=key,
        )
        name, tags = job_name(run, f"{stage}-{key}"), job_tags(run, stage)
        return jobs.submit_search(search, run, workspace.settings, name=name, tags=tags)

    def resume(self, context: Context, event: dict[str, Any]) -> Any:
        """The best trial; also of a sweep that has reached its cap."""
        with final_errors():
            run, _ = self._open()
            if event["state"] != "cancelled" or run.pipeline.tuning.max_vcpu_seconds is None:
                return super().resume(context, event)
            job = RemoteJob(**event["job"])
            if not jobs(required_connection(job.conn_id)).has_timed_out(job.job_id):
                return super().resume(context, event)
            self.log.warning("the sweep has reached its cap (tuning.max_vcpu_seconds); its best trial so far is taken")
            best: dict[str, object] = super().resume(context, {**event, "state": "succeeded"})
            return {**best, "stopped_by": "cap"}

    def finish(self, job: RemoteJob, context: Context) -> dict[str, object]:
        """The best trial."""
        from noria.jobs.trial import best_trial

        return best_trial(*self._open(), self.estimator, self._search_key(context))

    def _search_key(self, context: Context) -> str:
        return self._key(
            context,
            estimator=self.estimator,
            trials=self.trials,
            concurrent=self.concurrent,
            sampling=self.sampling,
            stopping=self.stopping,
        )


class AzureMLParallelOperator(AzureMLJobOperator):
    """Work on many partitions as a parallel job: a row of figures for each Parquet file of a folder of the lake.

        AzureMLParallelOperator(task_id="partitions", pipeline="sales", folder="partitions/sales", workers=4)

    The result is the lake folder of the rows, one JSON file a partition.

    Args:
        folder: Lake path of the folder.
        workers: Worker processes on each node.
        batch: Files that a worker is given at once.
    """

    template_fields = (*AzureMLJobOperator.template_fields, "folder")

    def __init__(self, *, folder: str, workers: int = 2, batch: int = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder, self.workers, self.batch = folder, workers, batch

    def submit(self, jobs: AzureMLJobs, context: Context) -> str:
        """Submit the job, unless an earlier try has; its id."""
        run, workspace = self._open()
        key = self._partitions_key(context)
        partitions = Partitions(workspace.lake.url(self.folder), key, self.workers, self.batch)
        name, tags = job_name(run, f"partitions-{key}"), job_tags(run, "partitions")
        return jobs.submit_partitions(partitions, run, workspace.settings, name=name, tags=tags)

    def account(self, job: RemoteJob, *, succeeded: bool) -> None:
        """Workers know nothing of each other, nor when they are ended; so the nodes are accounted for here."""
        self._keep_use(job, "partitions", "done" if succeeded else "failed")

    def finish(self, job: RemoteJob, context: Context) -> str:
        """The lake folder of the rows."""
        run, _ = self._open()
        return run_path(run.pipeline.name, run.run_id, f"partitions/{self._partitions_key(context)}")

    def _partitions_key(self, context: Context) -> str:
        return self._key(context, folder=self.folder, workers=self.workers, batch=self.batch)


class AzureMLRegisterModelOperator(BaseOperator):
    """Register the model of a run in another Azure ML workspace, with the same tags as any registry of Noria's.

        AzureMLRegisterModelOperator(task_id="publish", pipeline="students", conn_id="azureml_elsewhere")

    A run whose model was not promoted is skipped. A second call for the same run changes nothing. It becomes the
    champion there, unless the champion is of a run that was promoted later. It comes in by the same door as anywhere:
    the verdict on it is signed anew for the place that it has there, so the task needs the connection `noria_verdicts`.
    The result is the version.

    Args:
        pipeline: Name of the pipeline.
        run_id: Id of the DAG's run whose model it is.
        conn_id: A connection of the type `azure`; see AzureMLHook.
    """

    ui_color = "#e4ecfb"
    template_fields: Sequence[str] = ("pipeline", "run_id", "conn_id")

    def __init__(self, *, pipeline: str, run_id: str = "{{ run_id }}", conn_id: str = ML, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline, self.run_id, self.conn_id = pipeline, run_id, conn_id

    def execute(self, context: Context) -> str:
        """Register the model; its version.

        Raises:
            NoriaError: It may pass; Airflow retries.
            AirflowFailException: It will not; Airflow does not.
            AirflowSkipException: The model was not promoted.
        """
        from noria.registry import open_azureml_registry

        with final_errors():
            run, workspace = _open(self.pipeline, self.run_id)
            decision = workspace.decision(run) or workspace.require(run, "promote", Decision)
            if decision.registered_version is None or decision.waiting or decision.dry_run:
                waits = " and waits for approval" if decision.waiting else ""
                raise AirflowSkipException(f"the verdict is {decision.verdict}{waits}, so nothing is registered")
            candidate = workspace.require(run, "train", Candidate)
            registry = open_azureml_registry(required_connection(self.conn_id), workspace.keyring)
            lock = workspace.lake.lock(f"register-{run.pipeline.name}-{self.conn_id}")
            with lock, workspace.lake.local(candidate.model) as file:
                return _publish(run, candidate, file, registry, workspace)


def _open(pipeline: str, run_id: str) -> tuple[Run, Workspace]:
    workspace = open_workspace(Settings.from_env())
    return workspace.load_run(pipeline, safe_run_id(run_id)), workspace


def _publish(run: Run, candidate: Candidate, file: Path, registry: Registry, workspace: Workspace) -> str:
    """Let a model into a registry beside its own, and crown it there if it came later than the champion there.

    Raises:
        VerdictError: Its own registry does not hold it, or holds no valid verdict on it.
    """
    name = run.pipeline.name
    at_home, there = workspace.registry.history(name), registry.history(name)
    own = next((v for v in at_home if _is_of(v, run, candidate)), None)
    if own is None or own.verdict is None:
        raise VerdictError(
            f"no version of {name} in its own registry has a valid verdict on run {run.run_id}",
            expected="a model that was let in",
            remedy="See what noria doctor says of the registry.",
        )
    champion = next((v for v in there if v.is_champion), None)
    known = next((v for v in there if _is_of(v, run, candidate) and v.verdict), None)
    is_later = own.sequence is not None and _sequence(champion, at_home) < own.sequence
    if known and (known.sequence is not None or not is_later):
        return known.version
    facts = {
        "id": new_id(),
        "sequence": registry.next_sequence(name),
        "previous_champion": champion.version if champion else None,
        "issued_at": workspace.clock(),
    }
    verdict = workspace.keyring.sign(own.verdict.model_copy(update=facts))
    version = registry.register(run, candidate, verdict, file).version
    return registry.crown(name, version, verdict).version if is_later else version


def _is_of(version: ChampionVersion, run: Run, candidate: Candidate) -> bool:
    return (version.run_id, version.model_sha256) == (run.run_id, candidate.model_sha256)


def _sequence(champion: ChampionVersion | None, at_home: list[ChampionVersion]) -> int:
    """The how many-th champion of its own registry another registry's champion was; 0 if it never was."""
    if champion is None:
        return 0
    same = (v.sequence or 0 for v in at_home if v.run_id == champion.run_id)
    return max(same, default=0)
