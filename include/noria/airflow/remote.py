"""Tasks whose work is a job elsewhere: submit it, sleep while it runs, and take its result when it has ended.

The task defers, so a job of hours holds no worker. Nothing is lost by a restart: the job's name follows from the run,
so a task that is tried again finds the job that it had submitted, and the trigger holds all that it needs to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from airflow.triggers.base import BaseTrigger, TriggerEvent

from noria.airflow.connections import required_connection, to_azure
from noria.azure import AzureConnection
from noria.compute.remote import RemoteJobs
from noria.errors import InputError, JobError, NoriaError

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import TaskInstanceKey

FIRST_POLL_SECONDS = 1.0
LONGEST_POLL_SECONDS = 15.0
TAIL_LINES = 40
TIMED_OUT = "timed out"
UNREACHABLE = "unreachable"
Platform = Callable[[AzureConnection], RemoteJobs]


@dataclass(frozen=True)
class RemoteJob:
    """A job that was submitted: all that is needed to follow it from any process.

    Attributes:
        platform: Dotted path of the function `(AzureConnection) -> RemoteJobs`.
        conn_id: The Airflow connection to the platform.
        job_id: What the platform calls the job.
    """

    platform: str
    conn_id: str
    job_id: str

    def jobs(self) -> RemoteJobs:
        """The platform's jobs, by the connection; for worker processes."""
        return platform(self.platform)(required_connection(self.conn_id))


class RemoteJobTrigger(BaseTrigger):
    """Follows a job to its end, and tells its log line by line.

    A user who ends the task ends the job, and so does the task's time limit. A triggerer that stops does not: another
    one goes on. Trouble that may pass is waited out.

    Args:
        job: As the fields of RemoteJob.
        deadline: When the task's time is up, in seconds since 1970, or none.
    """

    def __init__(self, job: dict[str, str], deadline: float | None = None) -> None:
        super().__init__()
        self.job, self.deadline = job, deadline
        self._remote = RemoteJob(**job)
        self._platform: RemoteJobs | None = None
        self._position = 0
        self._trouble = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {"job": self.job, "deadline": self.deadline}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event when the job has ended, when its time is up, or when asking makes no sense any more."""
        pause = FIRST_POLL_SECONDS
        while True:
            event = await self._look()
            if event is not None:
                yield TriggerEvent({"job": self.job, **event})
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, LONGEST_POLL_SECONDS)

    async def on_kill(self) -> None:
        """End the job when a user ends the task."""
        self.log.info("the task was ended, and so is job %s", self._remote.job_id)
        await self._call(lambda jobs: jobs.cancel(self._remote.job_id))

    async def _look(self) -> dict[str, str] | None:
        try:
            if self.deadline is not None and time.time() > self.deadline:
                await self._call(lambda jobs: jobs.cancel(self._remote.job_id))
                return {"state": TIMED_OUT, "detail": "its time was up, so it was cancelled"}
            status = await self._call(lambda jobs: jobs.status(self._remote.job_id))
        except NoriaError as error:
            if not error.retryable:
                return {"state": UNREACHABLE, "detail": str(error)}
            self._note(str(error))
            return None
        self._note(f"job {self._remote.job_id}: {status.state} {status.detail}".rstrip())
        await self._tell()
        return asdict(status) if status.is_final else None

    async def _tell(self) -> None:
        """Tell what is new in the job's log; a log that cannot be read ends no job."""
        position = self._position
        try:
            text, self._position = await self._call(lambda jobs: jobs.log(self._remote.job_id, position))
        except NoriaError as error:
            self._note(f"the log cannot be read: {error}")
            return
        for line in text.splitlines():
            self.log.info("%s", line)

    def _note(self, text: str) -> None:
        """Say what is new, once."""
        if text != self._trouble:
            self.log.info("%s", text)
        self._trouble = text

    async def _call(self, what: Callable[[RemoteJobs], Any]) -> Any:
        if self._platform is None:
            connection = await BaseHook.aget_connection(self._remote.conn_id)
            self._platform = await asyncio.to_thread(platform(self._remote.platform), to_azure(connection))
        return await asyncio.to_thread(what, self._platform)


class JobLink(BaseOperatorLink):
    """Button on a task: the job in the platform's own pages."""

    name = "Remote job"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str | None:
        """Address of the job, where the task has one."""
        return getattr(operator, "job_link", None)


class Deferring(BaseOperator):
    """What an operator needs to hand its work to a job elsewhere.

    `raise self._deferral(…)` in `execute` puts the task to sleep; after the job's end Airflow calls `resume(context,
    event)`, which takes it up again with `_take_up`.
    """

    _remote: RemoteJob | None = None
    job_link: str | None = None

    def on_kill(self) -> None:
        """End the job when the task is stopped before it sleeps; afterwards the trigger does it."""
        if self._remote is not None:
            self._remote.jobs().cancel(self._remote.job_id)

    def _deferral(self, job: RemoteJob, jobs: RemoteJobs) -> TaskDeferred:
        """What to raise to sleep until the job has ended."""
        self._remote = job
        self.job_link = jobs.link(job.job_id)
        self.log.info("job %s: %s", job.job_id, self.job_link)
        limit = self.execution_timeout
        deadline = time.time() + limit.total_seconds() if limit else None
        return TaskDeferred(trigger=RemoteJobTrigger(asdict(job), deadline), method_name="resume")

    def _take_up(self, event: dict[str, Any]) -> tuple[RemoteJob, str]:
        """The job that has ended, and the whole log of its driver; the end of it is told where the job failed."""
        job = RemoteJob(**event["job"])
        jobs = job.jobs()
        self.job_link = jobs.link(job.job_id)
        log = whole_log(jobs, job.job_id)
        if event["state"] != "succeeded":
            tail = "\n".join(log.splitlines()[-TAIL_LINES:])
            self.log.error("the end of the log of job %s:\n%s", job.job_id, tail)
        return job, log

    def _failure(self, event: dict[str, Any]) -> NoriaError:
        """Why a job that did not succeed did not."""
        if event["state"] == UNREACHABLE:
            return NoriaError(f"job {event['job']['job_id']} cannot be followed: {event['detail']}")
        got = f"job {event['job']['job_id']} {event['state']}: {event['detail']}"
        return JobError(got.rstrip(": "), remedy=f"See {self.job_link}")


class RemoteJobOperator(Deferring):
    """Base of operators that submit one job: write `submit`, and `finish` where there is a result.

    Args:
        conn_id: The Airflow connection to the platform.
    """

    operator_extra_links = (JobLink(),)
    platform: str
    """Dotted path of the function `(AzureConnection) -> RemoteJobs`."""

    def __init__(self, *, conn_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id

    def submit(self, jobs: Any, context: Context) -> str:
        """Submit the job, unless an earlier try has; its id."""
        raise NotImplementedError

    def finish(self, job: RemoteJob, context: Context) -> Any:
        """The task's result, once the job has succeeded: the job's id, unless a subclass has something better."""
        return job.job_id

    def execute(self, context: Context) -> Any:
        """Submit the job and sleep until it has ended.

        Raises:
            NoriaError: It may pass; Airflow retries.
            AirflowFailException: It will not; Airflow does not.
        """
        with final_errors():
            jobs = platform(self.platform)(required_connection(self.conn_id))
            raise self._deferral(RemoteJob(self.platform, self.conn_id, self.submit(jobs, context)), jobs)

    def resume(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after the job's end; raises as `execute` does."""
        with final_errors():
            job, _log = self._take_up(event)
            if event["state"] != "succeeded":
                raise self._failure(event)
            return self.finish(job, context)


@contextlib.contextmanager
def final_errors() -> Iterator[None]:
    """An error that trying again cannot mend ends the task; any other is raised as it is, so that Airflow retries."""
    try:
        yield
    except NoriaError as error:
        if error.retryable:
            raise
        raise AirflowFailException(str(error)) from None


def platform(path: str) -> Platform:
    """The function of a dotted path."""
    module, _, name = path.rpartition(".")
    try:
        found: Platform = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"platform {path!r}: {error}", expected="the dotted path of a function") from None
    return found


def whole_log(jobs: RemoteJobs, job_id: str) -> str:
    """All that a job's driver has written; what cannot be read is said in its place."""
    parts: list[str] = []
    position = 0
    try:
        while True:
            text, position = jobs.log(job_id, position)
            if not text:
                break
            parts.append(text)
    except NoriaError as error:
        logging.getLogger(__name__).warning("the log of job %s cannot be read: %s", job_id, error)
        parts.append(f"\n(the rest of the log cannot be read: {error})\n")
    return "".join(parts)
