"""How Synapse is asked: the SDK's client, with the patience and the second look that its own retries lack.

The SDK repeats a POST that was answered with 500, 503 or 504, which may start a second batch, and gives up after three
times. So its retries are off, and what may pass is waited out here.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from noria.azure.connection import AzureConnection
from noria.azure.errors import Service, explained
from noria.azure.renewal import Renewing
from noria.errors import NoriaError, UnavailableError

if TYPE_CHECKING:
    from azure.core import PipelineClient
    from azure.synapse.spark import SparkClient
    from azure.synapse.spark.models import SparkBatchJob, SparkBatchJobOptions

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 120.0
API_VERSION = "2022-02-22-preview"
PAGE = 20
"""Batches in one answer, at most: https://learn.microsoft.com/rest/api/synapse/data-plane/spark-batch."""
_DOMAINS = {"AzureChinaCloud": "azuresynapse.azure.cn", "AzureUSGovernment": "azuresynapse.usgovcloudapi.net"}
_REMEMBERED = timedelta(days=7)
"""No run asks for a batch that was submitted before."""
_LONGEST_LOG_BYTES = 32 * 2**20
"""Of a log that can only be read from its start, again at each look."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, _SETTLING_SECONDS = 0.5, 15.0, 2.0
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
T = TypeVar("T")


class PoolClient(Renewing):
    """One Spark pool of a workspace.

    Every method raises UnavailableError after two minutes of throttling, failures or silence; AccessError, QuotaError
    and RefusedError at once.

    Args:
        connection: Who asks.
        endpoint: The workspace's development endpoint.
        pool: Name of the pool.
        resource: Both, as an error names them.
        settling_seconds: After a submit without a good answer, how long what was accepted may take to be listed.
    """

    def __init__(
        self, connection: AzureConnection, endpoint: str, pool: str, resource: str, settling_seconds: float = 10.0
    ) -> None:
        self._connection, self._endpoint, self._pool, self._resource = connection, endpoint, pool, resource
        self.settling_seconds = settling_seconds
        for noisy in ("azure.core.pipeline.policies.http_logging_policy", "azure.identity"):
            logging.getLogger(noisy).setLevel(logging.WARNING)

    def get(self, batch_id: str) -> SparkBatchJob:
        """A batch."""
        return self._ask(
            lambda: self._sdk.spark_batch.get_spark_batch_job(int(batch_id), detailed=True), f"batch {batch_id}, "
        )

    def named(self, name: str) -> Iterator[SparkBatchJob]:
        """All batches of a name; none of more than a week ago where the pool tells the youngest first."""
        return (batch for page in self._pages() for batch in page if batch.name == name)

    def create(self, options: SparkBatchJobOptions, known: set[int]) -> SparkBatchJob:
        """Submit a batch, once: where no good answer came it may have been accepted, so a second try looks first.

        What is listed too late for that is a second batch; the oldest counts, and younger ones are cancelled.

        Args:
            options: The batch.
            known: Batches of its name that were there before.
        """
        tries = 0

        def post() -> SparkBatchJob:
            nonlocal tries
            tries += 1
            return self._sdk.spark_batch.create_spark_batch_job(options, detailed=True)

        def listed() -> list[SparkBatchJob]:
            return sorted((b for b in self.named(options.name) if b.id not in known), key=lambda b: b.id)

        created = self._ask(post, look=lambda: next(iter(listed()), None), settling_seconds=self.settling_seconds)
        return created if tries == 1 else self._oldest(created, listed())

    def _oldest(self, created: SparkBatchJob, listed: Sequence[SparkBatchJob]) -> SparkBatchJob:
        """The oldest batch; the others are cancelled."""
        found = {batch.id: batch for batch in (created, *listed)}
        oldest = found.pop(min(found))
        for extra in sorted(found):
            log.warning("batch %s was submitted twice; batch %s is cancelled", oldest.id, extra)
            try:
                self.cancel(str(extra))
            except NoriaError as error:  # it may have ended
                log.warning("%s", error)
        return oldest

    def cancel(self, batch_id: str) -> None:
        """End a batch; nothing happens where there is none."""
        from azure.core.exceptions import ResourceNotFoundError

        def end() -> None:
            with contextlib.suppress(ResourceNotFoundError):
                self._sdk.spark_batch.cancel_spark_batch_job(int(batch_id))

        self._ask(end, f"batch {batch_id}, ")

    def driver_log(self, batch: SparkBatchJob, stream: str, position: int, limit: int) -> bytes | None:
        """Up to `limit` bytes of the driver's `stdout` or `stderr` from a byte on, or nothing where there is none.

        It is asked for once: what cannot be read now is read at the next look.
        """
        if not batch.app_id:
            return None
        path = f"sparkhistory/api/v1/sparkpools/{self._pool}/livyid/{batch.id}/applications/{batch.app_id}"
        return self._ask(
            lambda: self._download(f"/{path}/driverlog/{stream}/?isDownload=true", position, limit),
            f"the log of batch {batch.id}, ",
            patience_seconds=0.0,
        )

    def _pages(self) -> Iterator[list[SparkBatchJob]]:
        """Batches, page by page. `total` counts one answer only, so a short answer is the last."""
        for start in itertools.count(0, PAGE):
            page = self._page(start)
            yield page
            if len(page) < PAGE or _is_past(page):
                return

    def _page(self, start: int) -> list[SparkBatchJob]:
        answer = self._ask(lambda: self._sdk.spark_batch.get_spark_batch_jobs(start, PAGE, detailed=True))
        return answer.sessions or []

    def _download(self, path: str, position: int, limit: int) -> bytes | None:
        from azure.core.rest import HttpRequest

        headers = {"Range": f"bytes={position}-", "Accept-Encoding": "identity"} if position else {}
        request = HttpRequest("GET", f"{self._endpoint}{path}", headers=headers)
        with self._plain.send_request(request, stream=True) as response:
            if response.status_code == 404:
                return None
            if response.status_code == 416:  # nothing behind `position` yet
                return b""
            if response.status_code not in (200, 206):
                response.read()
                response.raise_for_status()
            found, passed = bytearray(), position if response.status_code == 206 else 0
            if position - passed > _LONGEST_LOG_BYTES:
                return b""
            for block in response.iter_bytes():
                found += block[max(0, position - passed) :]
                passed += len(block)
                if len(found) >= limit:
                    break
        return bytes(found[:limit])

    def _ask(
        self,
        what: Callable[[], T],
        detail: str = "",
        look: Callable[[], T | None] = lambda: None,
        *,
        settling_seconds: float = 0.0,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> T:
        """Ask until there is an answer.

        Args:
            what: The request.
            detail: What it is about, beside the pool.
            look: Done before each further try; what it finds is the answer.
            settling_seconds: How long to wait at least before a look, where it is not sure that nothing was done.
            patience_seconds: When to give up.
        """

        def ask() -> T:
            with explained(f"{detail}{self._resource}", Service.SYNAPSE):
                return what()

        def pause(error: UnavailableError, failures: int) -> float:
            least = settling_seconds if _may_have_worked(error) else 0.0
            return max(least, pause_seconds(error, failures))

        return self._until_answered(ask, look, pause, patience_seconds)

    @cached_property
    def _sdk(self) -> SparkClient:
        from azure.synapse.spark import SparkClient

        return SparkClient(
            credential=self._connection.credential(),
            endpoint=self._endpoint,
            spark_pool_name=self._pool,
            livy_api_version=API_VERSION,
            retry_total=0,
            connection_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            credential_scopes=[self._scope],
        )

    @property
    def _scope(self) -> str:
        return f"https://dev.{domain(self._connection)}/.default"

    @cached_property
    def _plain(self) -> PipelineClient:
        """For the history server, which the SDK knows nothing of."""
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy

        return PipelineClient(
            self._endpoint,
            policies=[
                RetryPolicy.no_retries(),
                BearerTokenCredentialPolicy(self._connection.credential(), self._scope),
            ],
            connection_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
        )


def pause_seconds(error: UnavailableError, failures: int) -> float:
    """How long to wait after so many failures in a row.

    What the service asks for (Retry-After, in seconds), at least twice the pause of the try before. Where no answer
    came at all it is long enough for what was accepted to be listed.
    """
    answer = getattr(error.__context__, "response", None)
    doubled = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** (failures - 1))
    if answer is None:
        return max(doubled, _SETTLING_SECONDS)
    asked = answer.headers.get("Retry-After", "")
    return max(doubled, float(asked)) if asked.isdecimal() else doubled


def domain(connection: AzureConnection) -> str:
    """Synapse's own domain in the cloud of a connection: https://learn.microsoft.com/azure/china/resources-developer-guide."""
    return _DOMAINS.get(connection.get("cloud_environment") or connection.get("cloud"), "azuresynapse.net")


def _may_have_worked(error: UnavailableError) -> bool:
    """Whether a request that got this answer, or none, may have been carried out all the same."""
    answer = getattr(error.__context__, "response", None)
    return answer is None or answer.status_code >= 500


def _is_past(page: Sequence[SparkBatchJob]) -> bool:
    """Whether the youngest come first, and this page reaches back to what no run asks for."""
    times = [batch.scheduler.submitted_at for batch in page if batch.scheduler and batch.scheduler.submitted_at]
    if len(times) < len(page) or times[0] <= times[-1] or times != sorted(times, reverse=True):
        return False
    return bool(times[-1] < datetime.now(UTC) - _REMEMBERED)
