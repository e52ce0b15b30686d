"""Spark batches on a pool of Azure Synapse, through its Livy API.

What Synapse offers, and what is made of it:

- A batch has a name, but Synapse takes any number of batches of one name. So whoever submits looks for the name first,
  and looks again when the answer to a submit was lost.
- What the driver writes is in two files of the Spark history server: `driverlog/stdout` has all that Python says, its
  errors too (Spark's Python runner joins the two), and `driverlog/stderr` has Spark's own log. That is where Synapse
  Studio reads them; the REST reference does not have it, so a batch is followed without a log where it is refused. They
  are there once the application runs, perhaps half a minute late. A look asks for what is new; where they are handed
  out whole all the same, it reads them from the start, up to 32 MiB. A batch that ended before its application began
  has no more than the lines of Livy's own answer.
- Reasons of a failure are in the batch itself, with a source (User, System, Dependency), a code and a sentence.

The batch reads and writes the lake as the identity that submitted it. That identity needs the Synapse role Synapse
Compute Operator on the pool (submit, cancel, see logs) and the role of the lake.
"""

from __future__ import annotations

import collections
import hashlib
import json
import logging
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from noria.azure.connection import AzureConnection
from noria.azure.errors import Service, refused
from noria.azure.redact import without_secrets
from noria.compute.ending import ended_by_sigterm
from noria.compute.remote import JobState, JobStatus, JobUse
from noria.compute.synapse_client import PoolClient, domain
from noria.compute.synapse_use import use_of
from noria.errors import AccessError, InputError, JobError, NoriaError, QuotaError, RefusedError, UnavailableError

if TYPE_CHECKING:
    from azure.synapse.spark.models import SparkBatchJob, SparkBatchJobOptions

log = logging.getLogger(__name__)

_LONGEST_REQUEST_BYTES = 100_000
"""Of a Livy request: https://learn.microsoft.com/rest/api/synapse/concurrency-limits-spark-pools."""
_CLASSIFY_ERRORS = "livy.rsc.synapse.error-classification.enabled"
"""Without it every reason is LIVY_JOB_STATE_DEAD, says the page of Synapse's documentation on Livy's error codes."""
_LOG_BYTES, _TEBIBYTE = 2**20, 2**40
_STREAMS = ("stdout", "stderr")
_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.5, 10.0
_TAIL_LINES = 15
_STATES: dict[str, JobState] = {
    "not_started": "waiting",
    "starting": "waiting",
    "recovering": "running",
    "idle": "running",
    "busy": "running",
    "running": "running",
    "shutting_down": "running",
    "success": "succeeded",
    "error": "failed",
    "dead": "failed",
    "killed": "cancelled",
}
_RESULTS: dict[str, JobState] = {"succeeded": "succeeded", "failed": "failed", "cancelled": "cancelled"}


class Files(Protocol):
    """What is needed of a lake."""

    def exists(self, path: str) -> bool:
        """Whether a file stands at `path`."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a file whole, only if nothing stands there."""

    def url(self, path: str) -> str:
        """`path` as Spark understands it."""


@dataclass(frozen=True)
class Sizes:
    """What a batch asks of its pool; the defaults fill three nodes of a Small pool (4 vCores, 32 GB each)."""

    driver_cores: int = 4
    driver_memory: str = "28g"
    executor_cores: int = 4
    executor_memory: str = "28g"
    executor_count: int = 2

    @property
    def vcores(self) -> int:
        """Of the driver and all executors."""
        return self.driver_cores + self.executor_cores * self.executor_count

    @classmethod
    def of(cls, connection: AzureConnection) -> Sizes:
        """From `driverCores`, `driverMemory`, `executorCores`, `executorMemory`, `executorCount` of the extra.

        Raises:
            InputError: A number is none.
        """
        given = cls()
        return cls(
            _whole(connection, "driverCores", given.driver_cores),
            connection.get("driverMemory") or given.driver_memory,
            _whole(connection, "executorCores", given.executor_cores),
            connection.get("executorMemory") or given.executor_memory,
            _whole(connection, "executorCount", given.executor_count),
        )


class SynapseJobs:
    """The batches of one Spark pool; see `noria.compute.remote.RemoteJobs`.

    Calls wait out throttling and failures of the service for two minutes before they give up.

    Args:
        connection: Its host is the workspace's development endpoint, `https://WORKSPACE.dev.azuresynapse.net`; its
            extra has `sparkPool`, `subscriptionId` and `resourceGroup` (both for links), and the keys of `Sizes`.
    """

    def __init__(self, connection: AzureConnection) -> None:
        self._connection = connection
        self._pool = connection.require("sparkPool")
        endpoint = _endpoint(connection)
        self._workspace = (urllib.parse.urlsplit(endpoint).hostname or "").partition(".")[0]
        resource = f"Spark pool {self._pool} of Synapse workspace {self._workspace}"
        self._client = PoolClient(connection, endpoint, self._pool, resource)
        self._seen: dict[str, SparkBatchJob] = {}

    def submit(
        self,
        name: str,
        script: Path,
        arguments: Sequence[str],
        *,
        lake: Files,
        tags: Mapping[str, str] | None = None,
        configuration: Mapping[str, str] | None = None,
    ) -> str:
        """Run a script, unless a batch of that name runs, waits, or has succeeded: then it is that one.

        Args:
            name: Follows from the run, so that another try asks with the same one.
            script: A self-contained Python file; uploaded once for each content, to `code/<sha256>/`.
            arguments: Its arguments; URLs instead of paths.
            lake: Keeps the script.
            tags: Kept with the batch.
            configuration: Spark's, beside the pool's own.

        Returns:
            The batch's id.

        Raises:
            InputError: The request is longer than Livy takes (100 kB).
            AccessError: The identity may not.
            QuotaError: The pool or the workspace has not so many vCores.
            UnavailableError: It may pass.
        """
        known = set()
        for batch in self._client.named(name):
            if status_of(batch).state not in ("failed", "cancelled"):
                log.info("batch %s of that name is there: %s", batch.id, batch.state)
                return self._see(batch)
            known.add(batch.id)
        options = self._options(name, _upload(script, lake), arguments, tags or {}, configuration or {})
        return self._see(self._client.create(options, known))

    def status(self, job_id: str) -> JobStatus:
        """How a batch is, with Livy's reason if it failed."""
        return status_of(self._get(job_id))

    def log(self, job_id: str, position: int) -> tuple[str, int]:
        """What the driver has written to standard output and then to standard error since, in whole lines.

        A position has the bytes of the one as tebibytes, and the bytes of the other.
        """
        batch = self._seen.get(job_id)
        if batch is None or not batch.app_id:
            batch = self._get(job_id)
        text = ""
        for stream, start, unit in zip(_STREAMS, divmod(position, _TEBIBYTE), (_TEBIBYTE, 1), strict=True):
            data = self._written(batch, stream, start)
            text += data.decode(errors="replace")
            position += len(data) * unit
        return text, position

    def cancel(self, job_id: str) -> None:
        """End a batch; nothing happens where it has ended, or where there is none."""
        try:
            self._client.cancel(job_id)
        except RefusedError:  # Livy may refuse to end what has ended
            if not self.status(job_id).is_final:
                raise

    def use(self, job_id: str) -> JobUse | None:
        """The vCores that an ended batch held, times the seconds that it held them."""
        return use_of(self._get(job_id), Sizes.of(self._connection).vcores)

    def link(self, job_id: str) -> str:
        """The batch in Synapse Studio."""
        studio = f"https://web.{domain(self._connection)}/en/monitoring/sparkapplication"
        subscription, group = self._connection.get("subscriptionId"), self._connection.get("resourceGroup")
        if not (subscription and group):
            return studio
        batch = self._seen.get(job_id) or self._get(job_id)
        query = {
            "workspace": f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Synapse"
            f"/workspaces/{self._workspace}",
            "livyId": job_id,
            "sparkPoolName": self._pool,
        }
        return f"{studio}/{urllib.parse.quote(batch.name or '', safe='')}?{urllib.parse.urlencode(query)}"

    def _written(self, batch: SparkBatchJob, stream: str, start: int) -> bytes:
        """The whole lines of one file from a byte on; all of it once the batch has ended."""
        is_final = status_of(batch).is_final
        try:
            data = self._client.driver_log(batch, stream, start, _LOG_BYTES)
        except UnavailableError as error:
            log.warning("%s", error)
            return b""
        except (AccessError, RefusedError) as error:  # a batch does not fail because its log cannot be read
            log.warning("%s", error)
            data = None
        if data is None and is_final and stream == "stderr":
            data = "".join(f"{line}\n" for line in batch.log_lines or ()).encode()[start:]
        if data is None:
            return b""
        return data if is_final or len(data) >= _LOG_BYTES else data[: data.rfind(b"\n") + 1]

    def _get(self, job_id: str) -> SparkBatchJob:
        batch = self._client.get(job_id)
        self._see(batch)
        return batch

    def _see(self, batch: SparkBatchJob) -> str:
        self._seen[str(batch.id)] = batch
        return str(batch.id)

    def _options(
        self, name: str, file: str, arguments: Sequence[str], tags: Mapping[str, str], configuration: Mapping[str, str]
    ) -> SparkBatchJobOptions:
        from azure.synapse.spark.models import SparkBatchJobOptions

        sizes = Sizes.of(self._connection)
        options = SparkBatchJobOptions(
            name=name,
            file=file,
            arguments=list(arguments),
            tags=dict(tags),
            configuration={_CLASSIFY_ERRORS: "true", **configuration},
            driver_cores=sizes.driver_cores,
            driver_memory=sizes.driver_memory,
            executor_cores=sizes.executor_cores,
            executor_memory=sizes.executor_memory,
            executor_count=sizes.executor_count,
        )
        length = len(json.dumps(options.serialize()).encode())
        if length > _LONGEST_REQUEST_BYTES:
            raise InputError(
                f"batch {name}: a request of {length:,} bytes",
                expected=f"at most {_LONGEST_REQUEST_BYTES:,} bytes, which is Livy's limit",
                remedy="Put long arguments into a file of the lake and hand over its URL.",
            )
        return options


def _upload(script: Path, lake: Files) -> str:
    """The URL of a script in the lake, which has each content once."""
    try:
        code = script.read_bytes()
    except OSError as error:
        raise InputError(f"script {script}: {error.strerror}", expected="a Python file on this machine") from None
    path = f"code/{hashlib.sha256(code).hexdigest()}/{script.name}"
    if not lake.exists(path):
        lake.create(path, code)
    return lake.url(path)


def status_of(batch: SparkBatchJob) -> JobStatus:
    """Synapse's result, once it has one, else Livy's state."""
    word = str(batch.state or "not_started").lower()
    state = _RESULTS.get(str(batch.result or "").lower()) or _STATES.get(word, "running")
    stage = batch.plugin.current_state if batch.plugin and state == "waiting" else None
    parts = [f"{word} ({stage})" if stage else word]
    if state in ("failed", "cancelled"):
        parts += [_reason(error) for error in batch.errors or ()]
    may_pass = all(_may_pass(error) for error in batch.errors or ())
    return JobStatus(state, without_secrets("; ".join(parts)), retryable=may_pass)


def _may_pass(error: Any) -> bool:
    """Whether another batch may do better: not after the script's own error, nor where a role or a quota is missing."""
    code = str(error.error_code or "")
    kind = refused("", Service.SYNAPSE, code=code, message=str(error.message or ""))
    if isinstance(kind, AccessError | QuotaError):
        return False
    return not (code.startswith("Spark_User_") or (error.source == "User" and not code.startswith("Spark_")))


def _reason(error: Any) -> str:
    head = " ".join(str(part) for part in (error.source, error.error_code) if part)
    return f"{head}: {error.message}" if head else str(error.message)


def _endpoint(connection: AzureConnection) -> str:
    host = connection.host.rstrip("/")
    if not host:
        raise InputError(
            f"connection {connection.conn_id} has no host", expected="https://WORKSPACE.dev.azuresynapse.net"
        )
    return host if "://" in host else f"https://{host}"


def _whole(connection: AzureConnection, key: str, given: int) -> int:
    text = connection.get(key)
    if not text:
        return given
    if not text.isdecimal():
        raise InputError(f"extra.{key} of connection {connection.conn_id} is {text!r}", expected="a whole number")
    return int(text)


class SynapseSpark:
    """Runs scripts on Synapse and waits for them; a `noria.compute.spark.SparkRunner`.

    Whoever ends this process by Ctrl-C or SIGTERM ends the batch; a process that was killed leaves it running, and the
    next one of the same name finds it.

    Args:
        jobs: The pool.
        lake: Keeps the scripts.
        name: Of the batch; follows from the run.
        tags: Kept with the batch.
        on_end: Called with what the batch used and whether it succeeded, once it has ended.
    """

    def __init__(
        self,
        jobs: SynapseJobs,
        lake: Files,
        name: str,
        tags: Mapping[str, str] | None = None,
        on_end: Callable[[JobUse, bool], None] = lambda _use, _succeeded: None,
    ) -> None:
        self._jobs, self._lake, self._name, self._tags, self._on_end = jobs, lake, name, tags, on_end

    def submit(self, script: Path, arguments: list[str]) -> None:
        """Run a script to its end, with the driver's log in ours. Raises JobError if it ends without success."""
        with ended_by_sigterm():
            job_id = self._jobs.submit(self._name, script, arguments, lake=self._lake, tags=self._tags)
            log.info("batch %s: %s", job_id, self._jobs.link(job_id))
            try:
                status, tail = self._wait(job_id)
            except (KeyboardInterrupt, SystemExit):
                log.warning("interrupted, so batch %s is cancelled", job_id)
                self._jobs.cancel(job_id)
                raise
        self._account(job_id, status)
        if status.state != "succeeded":
            raise JobError(
                f"batch {job_id} of {script.name} {status.state}: {status.detail}; its last lines:\n" + "\n".join(tail)
            )

    def _account(self, job_id: str, status: JobStatus) -> None:
        """Tell what the batch used; that it is not known is no reason to fail."""
        try:
            if use := self._jobs.use(job_id):
                self._on_end(use, status.state == "succeeded")
        except NoriaError as error:
            log.warning("what batch %s used is not known: %s", job_id, error)

    def _wait(self, job_id: str) -> tuple[JobStatus, list[str]]:
        position, pause, said = 0, _FIRST_POLL_SECONDS, None
        tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        while True:
            status = self._jobs.status(job_id)
            if status != said:
                log.info("batch %s: %s", job_id, status.detail)
                said = status
            text, position = self._jobs.log(job_id, position)
            for line in text.splitlines():
                log.info("spark: %s", line)
                tail.append(line)
            if status.is_final and not text:
                return status, list(tail)
            if not text:
                time.sleep(pause)
                pause = min(pause * 1.3, _LONGEST_POLL_SECONDS)
