"""Following a job elsewhere: the sleeping task, its trigger, what a restart and a user's hand do to the job."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from airflow.triggers.base import TriggerEvent

from noria.airflow import remote
from noria.airflow.remote import RemoteJobOperator, RemoteJobTrigger
from noria.azure import AzureConnection
from noria.compute.remote import JobStatus
from noria.errors import AccessError, InputError, JobError, StorageUnavailableError

RUNNING = JobStatus("running", "Running")
DONE = JobStatus("succeeded", "Completed")


class Scripted:
    """A platform that answers as it is told, one answer for each question; the last one stays."""

    def __init__(self, *answers: JobStatus | Exception, lines: tuple[str, ...] = ()) -> None:
        self.answers, self.lines, self.cancelled, self.asked = list(answers), lines, [], 0
        self.connection: AzureConnection | None = None

    def status(self, job_id: str) -> JobStatus:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    def log(self, job_id: str, position: int) -> tuple[str, int]:
        text = "".join(f"{line}\n" for line in self.lines[position : position + 2])
        return text, min(position + 2, len(self.lines))

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def link(self, job_id: str) -> str:
        return f"https://studio.example/{job_id}"


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a platform that operators and triggers find under `PLATFORM`."""
    monkeypatch.setenv("AIRFLOW_CONN_SOMEWHERE", json.dumps({"conn_type": "azure", "host": "h", "extra": {"a": "b"}}))
    monkeypatch.setattr(remote, "FIRST_POLL_SECONDS", 0.001)

    def make(*answers: JobStatus | Exception, **options: Any) -> Scripted:
        world = Scripted(*answers, **options)

        def found(connection: AzureConnection) -> Scripted:
            world.connection = connection
            return world

        monkeypatch.setattr(remote, "scripted", found, raising=False)
        return world

    return make


PLATFORM = "noria.airflow.remote.scripted"


class Submit(RemoteJobOperator):
    platform = PLATFORM

    def submit(self, jobs: Any, context: Any) -> str:
        return "job-1"


def trigger(deadline: float | None = None) -> RemoteJobTrigger:
    job = {"platform": PLATFORM, "conn_id": "somewhere", "job_id": "job-1"}
    return RemoteJobTrigger(job, deadline)


def fired(watching: RemoteJobTrigger) -> dict[str, Any]:
    async def first() -> TriggerEvent:
        return await asyncio.wait_for(anext(watching.run()), timeout=20)

    return asyncio.run(first()).payload


def test_a_task_sleeps_with_all_that_is_needed_to_follow_its_job(scripted: Any) -> None:
    world = scripted(RUNNING)
    operator = Submit(task_id="t", conn_id="somewhere", execution_timeout=timedelta(minutes=5))
    before = time.time()
    with pytest.raises(TaskDeferred) as slept:
        operator.execute({})
    path, arguments = slept.value.trigger.serialize()
    assert path == "noria.airflow.remote.RemoteJobTrigger"
    assert json.loads(json.dumps(arguments)) == arguments
    again = RemoteJobTrigger(**arguments)
    assert again.serialize() == (path, arguments)
    assert arguments["job"]["job_id"] == "job-1"
    assert before + 300 <= arguments["deadline"] <= time.time() + 300
    assert slept.value.method_name == "resume"
    assert operator.job_link == "https://studio.example/job-1"
    assert world.connection is not None and world.connection.get("a") == "b"


def test_the_trigger_waits_tells_the_log_and_fires_once(scripted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    world = scripted(JobStatus("waiting", "Queued"), RUNNING, RUNNING, DONE, lines=("one", "two", "three"))
    event = fired(trigger())
    assert (event["state"], event["detail"], event["job"]["job_id"]) == ("succeeded", "Completed", "job-1")
    told = capsys.readouterr().out
    assert [told.count(f"] {line} ") for line in world.lines] == [1, 1, 1]
    assert not world.cancelled


def test_trouble_that_may_pass_is_waited_out(scripted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    scripted(StorageUnavailableError("throttled"), StorageUnavailableError("throttled"), RUNNING, DONE)
    assert fired(trigger())["state"] == "succeeded"
    assert capsys.readouterr().out.count("throttled.") == 1


def test_trouble_that_stays_ends_the_job_and_the_task(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MEND_SECONDS", 0.05)
    world = scripted(AccessError("no role", remedy="Assign the role X"))
    event = fired(trigger())
    assert event["state"] == "unreachable"
    assert world.cancelled == ["job-1"]
    with pytest.raises(AirflowFailException, match=r"job-1 cannot be followed: no role\. Assign the role X"):
        Submit(task_id="t", conn_id="somewhere").resume({}, event)


def test_a_role_or_a_secret_may_be_mended_meanwhile(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = scripted(AccessError("no role"), AccessError("no role"), RUNNING, DONE)
    reads: list[str] = []
    ask = remote.BaseHook.aget_connection

    async def counted(conn_id: str) -> Any:
        reads.append(conn_id)
        return await ask(conn_id)

    monkeypatch.setattr(remote.BaseHook, "aget_connection", counted)
    assert fired(trigger())["state"] == "succeeded"
    assert not world.cancelled
    assert len(reads) == 3, "the connection is read again after each refusal"


def test_an_error_that_nobody_foresaw_ends_no_trigger(scripted: Any) -> None:
    scripted(KeyError("state"), DONE)
    assert fired(trigger())["state"] == "succeeded"


def test_a_job_whose_time_is_up_is_cancelled(scripted: Any) -> None:
    world = scripted(RUNNING)
    event = fired(trigger(deadline=time.time() + 0.2))
    assert event["state"] == "timed out"
    assert world.cancelled == ["job-1"]
    with pytest.raises(JobError, match=r"job-1 timed out: its time was up, so it was cancelled"):
        Submit(task_id="t", conn_id="somewhere").resume({}, event)


def test_a_job_that_ended_well_while_nobody_looked_is_no_late_one(scripted: Any) -> None:
    world = scripted(DONE)
    assert fired(trigger(deadline=time.time() - 60))["state"] == "succeeded"
    assert not world.cancelled


def test_a_job_that_cannot_be_cancelled_may_still_run_and_the_task_says_so(scripted: Any) -> None:
    world = scripted(StorageUnavailableError("throttled"))

    def refuse(_job_id: str) -> None:
        raise AccessError("no role")

    world.cancel = refuse
    event = fired(trigger(deadline=time.time() - 60))
    assert event["state"] == "timed out"
    assert "it may still run, since it could not be cancelled: no role" in event["detail"]


def test_cancelling_waits_behind_no_other_call(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = scripted(RUNNING)
    busy = ThreadPoolExecutor(1)
    monkeypatch.setattr(remote, "LOOKS", busy)
    release = threading.Event()
    busy.submit(release.wait)
    watching = trigger()
    try:
        asyncio.run(asyncio.wait_for(watching.on_kill(), timeout=10))
    finally:
        release.set()
    assert world.cancelled == ["job-1"]


def test_a_user_who_ends_the_task_ends_the_job_and_a_restart_does_not(scripted: Any) -> None:
    world = scripted(RUNNING)
    watching = trigger()

    async def stop(*, by_user: bool) -> None:
        task = asyncio.create_task(anext(watching.run()))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if by_user:
            await watching.on_kill()
        await watching.cleanup()

    asyncio.run(stop(by_user=False))
    assert world.cancelled == []
    asyncio.run(stop(by_user=True))
    assert world.cancelled == ["job-1"]


def test_a_worker_that_is_stopped_before_the_task_sleeps_cancels_the_job(scripted: Any) -> None:
    world = scripted(RUNNING)
    Submit(task_id="t", conn_id="somewhere").on_kill()
    assert world.cancelled == []
    operator = Submit(task_id="t", conn_id="somewhere")
    with pytest.raises(TaskDeferred):
        operator.execute({})
    operator.on_kill()
    assert world.cancelled == ["job-1"]


def test_a_job_that_is_submitted_while_its_task_is_stopped_is_cancelled(scripted: Any) -> None:
    world = scripted(RUNNING)

    class Slow(Submit):
        def submit(self, jobs: Any, context: Any) -> str:
            self.on_kill()  # as Airflow's signal handler does in the middle of it
            return "job-1"

    with pytest.raises(TaskDeferred):
        Slow(task_id="t", conn_id="somewhere").execute({})
    assert world.cancelled == ["job-1"]


def test_a_failure_that_another_job_would_meet_too_is_not_tried_again(scripted: Any) -> None:
    scripted(JobStatus("failed", "QuotaExceeded", retryable=False))
    event = json.loads(json.dumps(fired(trigger())))
    with pytest.raises(AirflowFailException, match="QuotaExceeded"):
        Submit(task_id="t", conn_id="somewhere").resume({}, event)


def test_a_job_that_failed_shows_the_end_of_its_log_and_where_to_look(
    scripted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted(JobStatus("failed", "UserError: no such column"), lines=tuple(f"line {n}" for n in range(100)))
    event = fired(trigger())
    capsys.readouterr()
    with pytest.raises(JobError, match=r"job-1 failed: UserError: no such column.*studio\.example/job-1") as caught:
        Submit(task_id="t", conn_id="somewhere").resume({}, event)
    assert caught.value.retryable
    told = capsys.readouterr().out
    assert "line 99" in told and "line 60" in told and "line 59" not in told


def test_the_result_of_a_job_that_succeeded(scripted: Any) -> None:
    scripted(DONE)
    operator = Submit(task_id="t", conn_id="somewhere")
    assert operator.resume({}, fired(trigger())) == "job-1"
    assert operator.job_link == "https://studio.example/job-1"


def test_a_missing_connection_is_named_and_not_tried_again(scripted: Any) -> None:
    scripted(DONE)
    with pytest.raises(InputError, match="no connection nowhere"):
        remote.required_connection("nowhere")
    with pytest.raises(AirflowFailException, match="no connection nowhere"):
        Submit(task_id="t", conn_id="nowhere").execute({})


def test_an_account_that_cannot_be_made_changes_nothing(scripted: Any) -> None:
    class Accounting(Submit):
        def account(self, job: remote.RemoteJob, *, succeeded: bool) -> None:
            assert remote.use_of(job.jobs(), job.job_id) is None, "this platform has no `use` to ask for"
            raise StorageUnavailableError("the lake is away")

    scripted(DONE)
    job = {"platform": PLATFORM, "conn_id": "somewhere", "job_id": "job-1"}
    operator = Accounting(task_id="t", conn_id="somewhere")
    assert operator.resume({}, {"job": job, "state": "succeeded", "detail": ""}) == "job-1"
    with pytest.raises(JobError, match="failed: out of memory"):
        operator.resume({}, {"job": job, "state": "failed", "detail": "out of memory"})
