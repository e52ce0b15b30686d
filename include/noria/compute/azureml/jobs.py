"""Jobs of an Azure ML workspace: submitted once, found again by name, followed, ended."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from noria.azure import AzureConnection
from noria.azure.errors import Service, explained, refused
from noria.azure.ml_client import ml_client
from noria.azure.renewal import Renewing, renewing
from noria.compute.azureml import image
from noria.compute.azureml.code import code_snapshot
from noria.compute.azureml.command import stage_job
from noria.compute.azureml.frame import Frame, frame, node_count
from noria.compute.azureml.names import attempt_name, safe_name
from noria.compute.azureml.parallel import Partitions, partitions_job
from noria.compute.azureml.states import is_final, is_lost, may_pass, state_of
from noria.compute.azureml.sweep import Search, limit_seconds, search_space, sweep_job
from noria.compute.azureml.use import machine_of, use_of, vcpus_of
from noria.compute.remote import JobStatus, JobUse
from noria.errors import InputError, NoriaError
from noria.records import Run
from noria.settings import Settings

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Job

_CANCEL_ATTEMPTS = 3
_LOG_BYTES = 2**20
"""Of a log that is read at once."""
_ALMOST = 0.95
"""Of a time limit: two clocks say when a job began."""
_STUDIO = {"AzureChinaCloud": "https://studio.ml.azure.cn", "AzureUSGovernment": "https://ml.azure.us"}
# The first file that is there: of the first node, of a sweep, of a pipeline (the SDK's JobLogPattern).
_DRIVER_LOGS = (
    r"user_logs/std_log[\D]*0*(?:_ps)?\.txt",
    r"azureml-logs/hyperdrive\.txt",
    r"logs/azureml/executionlogs\.txt",
)


class AzureMLJobs(Renewing):
    """Jobs of the workspace that a connection names; a `RemoteJobs`.

    Args:
        connection: Its extra holds `subscriptionId`, `resourceGroup`, `workspace`, `compute`, and where needed `nodes`
            and `identity_client_id`.
    """

    def __init__(self, connection: AzureConnection) -> None:
        self._connection = connection
        self._resource = f"Azure ML workspace {connection.get('workspace') or '?'}"

    def submit_stage(self, stage: str, run: Run, settings: Settings, *, name: str, tags: Mapping[str, str]) -> str:
        """Run a stage as a command job, unless a job of that name runs it or has.

        Args:
            stage: Name of the stage.
            run: The run, which must stand in the lake.
            settings: Where the lake is.
            name: What the job is called; it has to follow from the run.
            tags: What it is tagged with.

        Returns:
            The job's id: its name, made safe, with a number behind it if earlier ones have failed.

        Raises:
            InputError: The connection or the lake does not do.
            UnavailableError: It may pass: throttled, no answer, no capacity.
            AccessError, QuotaError, RefusedError: It will not.
        """
        return self._submit(lambda given: stage_job(given, stage, run), run, settings, name=name, tags=tags)

    def submit_search(self, search: Search, run: Run, settings: Settings, *, name: str, tags: Mapping[str, str]) -> str:
        """Search hyper-parameters as a sweep job; as `submit_stage`.

        Raises:
            SpecError: Something of the search cannot be said to Azure ML; nothing was submitted.
            InputError: Its cap cannot be kept; nothing was submitted.
        """
        search_space(search)
        if run.pipeline.tuning.max_vcpu_seconds is not None:
            search = replace(search, node_vcpus=self._node_vcpus())
            limit_seconds(search, run.pipeline.tuning)
        return self._submit(lambda given: sweep_job(given, search, run), run, settings, name=name, tags=tags)

    def submit_partitions(
        self, partitions: Partitions, run: Run, settings: Settings, *, name: str, tags: Mapping[str, str]
    ) -> str:
        """Work on many partitions as a parallel job; as `submit_stage`."""
        return self._submit(lambda given: partitions_job(given, partitions, run), run, settings, name=name, tags=tags)

    @renewing
    def status(self, job_id: str) -> JobStatus:
        """How the job is now, in Azure ML's word, with the reason where it has failed.

        Raises:
            NoriaError: As `submit_stage`; a job that is not there is a RefusedError.
        """
        with self._explained():
            word = _word(self._client.jobs.get(job_id))
            state = state_of(word)
            if state == "failed":
                return self._failed(job_id)
            return JobStatus(state, f"{word}{self._shortage()}" if state == "waiting" else word)

    @renewing
    def log(self, job_id: str, position: int) -> tuple[str, int]:
        """What the job's driver has written from byte `position` on, and the next position.

        It is the file that `az ml job stream` shows. A node that is being made has none, which is an empty text.
        """
        from azure.core.exceptions import HttpResponseError
        from azure.storage.blob import BlobClient

        with self._explained():
            url = _driver_log(self._details(job_id).log_files or {})
            if url is None:
                return "", position
            try:
                with BlobClient.from_blob_url(url) as blob:
                    data = blob.download_blob(offset=position, length=_LOG_BYTES).readall()
            except HttpResponseError as error:
                if error.status_code in (404, 416):  # not there yet, and nothing behind `position`
                    return "", position
                raise
        data = data[: data.rfind(b"\n") + 1] or data  # a line that is being written is told when it is whole
        return data.decode(errors="replace"), position + len(data)

    @renewing
    def cancel(self, job_id: str) -> None:
        """Ask Azure ML to end the job; nothing happens where it has ended, or where there is none."""
        with self._explained():
            for attempt in range(1, _CANCEL_ATTEMPTS + 1):
                job = self._find(job_id)
                if job is None or is_final(_word(job)) or _word(job) == "CancelRequested":
                    return
                try:
                    self._client.jobs.begin_cancel(job_id, polling=False)
                except Exception:  # it may have ended meanwhile, or only the answer was lost: look again
                    if attempt == _CANCEL_ATTEMPTS:
                        raise

    @renewing
    def use(self, job_id: str) -> JobUse | None:
        """What the job used: its nodes, from when it ran until it ended; none where it never ran."""
        with self._explained():
            resources = getattr(self._client.jobs.get(job_id), "resources", None)
            nodes = getattr(resources, "instance_count", None) or node_count(self._connection)
            machine = machine_of(self._client, self._connection.require("compute"))
            vcpus = vcpus_of(self._client, machine)
            return use_of(self._details(job_id), machine, vcpus, nodes) if vcpus else None

    @renewing
    def has_timed_out(self, job_id: str) -> bool:
        """Whether a sweep that was cancelled had reached its time limit: then nobody else has cancelled it."""
        with self._explained():
            limits, details = getattr(self._client.jobs.get(job_id), "limits", None), self._details(job_id)
        started, ended, limit = details.start_time_utc, details.end_time_utc, getattr(limits, "timeout", None)
        if started is None or ended is None or not limit:
            return False
        return bool((ended - started).total_seconds() >= _ALMOST * limit)

    @renewing
    def _node_vcpus(self) -> int | None:
        with self._explained():
            return vcpus_of(self._client, machine_of(self._client, self._connection.require("compute")))

    def link(self, job_id: str) -> str:
        """Its page in Studio."""
        studio = _STUDIO.get(self._connection.get("cloud"), "https://ml.azure.com")
        return f"{studio}/runs/{job_id}?wsid={self._scope}"

    @renewing
    def _submit(
        self,
        make: Callable[[Frame], Job],
        run: Run,
        settings: Settings,
        *,
        name: str,
        tags: Mapping[str, str],
    ) -> str:
        """Find the job of that name, or make and submit it; after lost ones comes another with a number."""
        base = safe_name(name)
        for attempt in itertools.count(1):
            candidate = attempt_name(base, attempt)
            with self._explained():
                job = self._find(candidate)
            if job is None:
                self._create(candidate, make, run, settings, tags)
                return candidate
            if not is_lost(_word(job)):
                return candidate
        raise AssertionError  # the counter has no end

    def _create(
        self, name: str, make: Callable[[Frame], Job], run: Run, settings: Settings, tags: Mapping[str, str]
    ) -> None:
        try:
            with self._explained(), code_snapshot() as folder:
                given = frame(
                    self._connection,
                    settings,
                    name=name,
                    code=str(folder),
                    environment=self._environment(),
                    tags=tags,
                    experiment=run.pipeline.name,
                    machine=machine_of(self._client, self._connection.require("compute")),
                )
                self._client.jobs.create_or_update(make(given))
        except NoriaError as error:
            if isinstance(error, InputError) or not self._was_accepted(name):
                raise

    def _was_accepted(self, name: str) -> bool:
        """Whether the job is there although its creation ended with an error: its answer was lost on the way."""
        try:
            with self._explained():
                return self._find(name) is not None
        except NoriaError:
            return False

    def _environment(self) -> str:
        """The environment, registered where the workspace has none of its hash yet."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            self._client.environments.get(image.NAME, image.version())
        except ResourceNotFoundError:
            self._client.environments.create_or_update(image.environment())
        return f"azureml:{image.NAME}:{image.version()}"

    def _find(self, job_id: str) -> Any:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            return self._client.jobs.get(job_id)
        except ResourceNotFoundError as error:
            # A workspace that is not there has no jobs either, but that is no reason to create one.
            if error.error is not None and error.error.code in ("ResourceNotFound", "ResourceGroupNotFound"):
                raise
            return None

    def _failed(self, job_id: str) -> JobStatus:
        """Why a job has failed: Azure ML's code and sentence, and what to do where they are known."""
        error = getattr(self._details(job_id).error, "error", None)
        code, message = str(getattr(error, "code", "") or ""), str(getattr(error, "message", "") or "")
        if not code and not message:
            return JobStatus("failed", "Failed; see its log")
        reason = refused(f"job {job_id} failed", Service.ML, code=code, message=message)
        return JobStatus("failed", str(reason), retryable=may_pass(reason, code, message))

    def _shortage(self) -> str:
        """What keeps the cluster from giving a waiting job its nodes; the job itself does not say it."""
        from azure.core.exceptions import AzureError

        name = self._connection.get("compute")
        try:  # the SDK's own compute has no errors
            found = self._client.compute._operation.get(
                self._client.resource_group_name, self._client.workspace_name, name
            )
        except AzureError:
            return ""
        errors = getattr(getattr(found.properties, "properties", None), "errors", None) or []
        errors = [*errors, *(getattr(found.properties, "provisioning_errors", None) or [])]
        bodies = [getattr(error, "error", None) or error for error in errors]
        said = (refused(f"compute {name}", Service.ML, code=b.code or "", message=b.message or "") for b in bodies)
        return "".join(f"; {text}" for text in dict.fromkeys(map(str, said)))

    def _details(self, job_id: str) -> Any:
        """The run's own page of facts; the SDK's `jobs.stream` reads it, but only to standard output."""
        return self._client.jobs._runs_operations.get_run_details(job_id)

    def _explained(self) -> Any:
        return explained(self._resource, Service.ML)

    @property
    def _scope(self) -> str:
        value = self._connection.require
        return (
            f"/subscriptions/{value('subscriptionId')}/resourcegroups/{value('resourceGroup')}"
            f"/workspaces/{value('workspace')}"
        )

    @cached_property
    def _client(self) -> MLClient:
        # Its DEBUG lines are URLs, and those of uploads and of logs hold a signature.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
        return ml_client(self._connection)


def _word(job: Job) -> str:
    """Azure ML's word for how a job is; the SDK gives it as text or as a member of an enumeration."""
    return str(getattr(job.status, "value", job.status))


def _driver_log(files: Mapping[str, str]) -> str | None:
    """URL of the driver's log; it holds a signature, so it is for fetching only."""
    for pattern in _DRIVER_LOGS:
        for name in sorted(files):
            if re.fullmatch(pattern, name):
                return files[name]
    return None
