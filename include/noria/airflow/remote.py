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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from airflow.triggers.base import BaseTrigger, TriggerEvent

from noria.airflow.connections import required_connection, to_azure
from noria.airflow.defaults import JOB_TOLD_TO_END
from noria.azure import AzureConnection
from noria.compute.remote import JobUse, RemoteJobs
from noria.errors import InputError, JobError, NoriaError

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import TaskInstanceKey

FIRST_POLL_SECONDS = 1.0
LONGEST_POLL_SECONDS = 15.0
TAIL_LINES = 40
LINES_AT_ONCE = 200
MEND_SECONDS = 600.0
"""So long a job is followed on that this identity may not see, or that seems not to be there."""
LOG_BYTES = 16 * 2**20
LOOKS = ThreadPoolExecutor(32, "noria-look")
CANCELS = ThreadPoolExecutor(8, "noria-cancel")
"""Threads of their own: a cancellation must not wait behind calls that wait out a platform's trouble."""
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
    one goes on. Trouble that may pass is waited out until then; any other is given some minutes to be mended.

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
        self._lost_since: float | None = None

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
        await self._cancel()
        self.log.info("job %s %s", self._remote.job_id, JOB_TOLD_TO_END)

    async def _look(self) -> dict[str, Any] | None:
        """What there is to say of the job, once there is something."""
        try:
            status = await self._call(lambda jobs: jobs.status(self._remote.job_id))
        except NoriaError as error:
            return await self._without_an_answer(str(error), passes=error.retryable)
        except Exception as error:  # whatever it is, the job must not run on unseen
            return await self._without_an_answer(f"{type(error).__name__}: {error}", passes=False)
        self._lost_since = None
        self._note(f"job {self._remote.job_id}: {status.state} {status.detail}".rstrip())
        await self._tell()
        if status.is_final:
            return asdict(status)
        return await self._end(TIMED_OUT, "its time was up") if self._is_late else None

    async def _without_an_answer(self, trouble: str, *, passes: bool) -> dict[str, Any] | None:
        """Go on as long as the trouble may pass; a role or a secret may be mended while the job runs."""
        self._note(trouble)
        self._platform = self._platform if passes else None  # the connection is read again
        if self._is_late:
            return await self._end(TIMED_OUT, f"its time was up, and at last: {trouble}")
        if passes:
            self._lost_since = None
            return None
        self._lost_since = self._lost_since or time.time()
        if time.time() - self._lost_since < MEND_SECONDS:
            return None
        return await self._end(UNREACHABLE, trouble)

    async def _end(self, state: str, why: str) -> dict[str, Any]:
        """Give up on the job, and end it if that can be."""
        try:
            await self._cancel()
        except Exception as error:
            return {"state": state, "detail": f"{why}; it may still run, since it could not be cancelled: {error}"}
        return {"state": state, "detail": f"{why}, so it was cancelled"}

    @property
    def _is_late(self) -> bool:
        return self.deadline is not None and time.time() > self.deadline

    async def _tell(self) -> None:
        """Tell what is new in the job's log; a log that cannot be read ends no job."""
        position = self._position
        try:
            text, self._position = await self._call(lambda jobs: jobs.log(self._remote.job_id, position))
        except Exception as error:
            self._note(f"the log cannot be read: {error}")
            return
        for number, line in enumerate(text.splitlines(), 1):
            self.log.info("%s", line)
            if number % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)  # other triggers live in this loop too

    def _note(self, text: str) -> None:
        """Say what is new, once."""
        if text != self._trouble:
            self.log.info("%s", text)
        self._trouble = text

    async def _cancel(self) -> None:
        await self._call(lambda jobs: jobs.cancel(self._remote.job_id), CANCELS)

    async def _call(self, what: Callable[[RemoteJobs], Any], threads: ThreadPoolExecutor | None = None) -> Any:
        loop, pool = asyncio.get_running_loop(), threads or LOOKS
        if self._platform is None:
            connection = await BaseHook.aget_connection(self._remote.conn_id)
            self._platform = await loop.run_in_executor(pool, platform(self._remote.platform), to_azure(connection))
        return await loop.run_in_executor(pool, what, self._platform)


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
    _jobs: RemoteJobs | None = None
    _is_stopped = False
    job_link: str | None = None

    def on_kill(self) -> None:
        """End the job when the task is stopped before it sleeps; afterwards the trigger does it."""
        self._is_stopped = True  # a job that is being submitted is ended as soon as it has an id
        if self._remote is not None and self._jobs is not None:
            self._jobs.cancel(self._remote.job_id)

    def _deferral(self, job: RemoteJob, jobs: RemoteJobs) -> TaskDeferred:
        """What to raise to sleep until the job has ended."""
        self._remote, self._jobs = job, jobs
        if self._is_stopped:
            jobs.cancel(job.job_id)
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
        error = JobError(got.rstrip(": "), remedy=f"See {self.job_link}")
        error.retryable = bool(event.get("retryable", True))
        return error


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

    def account(self, job: RemoteJob, *, succeeded: bool) -> None:
        """Called once the job has ended, for what it used: nothing, unless a subclass knows whose costs they are."""

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
            self._account(job, succeeded=event["state"] == "succeeded")
            if event["state"] != "succeeded":
                raise self._failure(event)
            return self.finish(job, context)

    def _account(self, job: RemoteJob, *, succeeded: bool) -> None:
        """Account for the job; that it cannot be done changes nothing else."""
        try:
            self.account(job, succeeded=succeeded)
        except Exception as error:
            self.log.warning("what job %s used could not be kept: %s", job.job_id, error)


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


def use_of(jobs: RemoteJobs, job_id: str) -> JobUse | None:
    """What a job that has ended used; that it cannot be known is told, and changes nothing."""
    try:
        return jobs.use(job_id)
    except Exception as error:
        logging.getLogger(__name__).warning("what job %s used is not known: %s", job_id, error)
        return None


def whole_log(jobs: RemoteJobs, job_id: str) -> str:
    """What a job's driver has written, up to 16 MiB; what cannot be read is said in its place."""
    parts: list[str] = []
    position = 0
    try:
        while True:
            text, position = jobs.log(job_id, position)
            if not text or position > LOG_BYTES:
                break
            parts.append(text)
    except NoriaError as error:
        logging.getLogger(__name__).warning("the log of job %s cannot be read: %s", job_id, error)
        parts.append(f"\n(the rest of the log cannot be read: {error})\n")
    return "".join(parts)
