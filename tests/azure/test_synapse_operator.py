"""The operator for Spark batches on the twin: asleep, woken, killed, too late, and tried again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import airflow  # noqa: F401  before anything imports Airflow

from airflow.sdk.exceptions import AirflowFailException, TaskDeferred  # isort: skip
from noria.airflow import remote
from noria.airflow.remote import RemoteJobTrigger
from noria.airflow.synapse import SynapseHook, SynapseSparkBatchOperator
from noria.compute.synapse import SynapseJobs
from noria.errors import JobError
from tests.azure.twin.client import Twin

pytestmark = pytest.mark.slow


@pytest.fixture
def jobs(twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SynapseJobs]:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NORIA_LAKE_URL", twin.lake_url())
    monkeypatch.setattr(remote, "FIRST_POLL_SECONDS", 0.1)
    found = SynapseHook().get_conn()
    yield found
    for batch in batches(found, tmp_path.name):
        found.cancel(str(batch.id))


@pytest.fixture
def context(tmp_path: Path) -> dict[str, Any]:
    ti = {"dag_id": "sales", "task_id": "totals", "run_id": tmp_path.name, "map_index": -1, "max_tries": 0}
    return {"ti": SimpleNamespace(**ti, task=SimpleNamespace(retries=0))}


def operator(tmp_path: Path, code: str = "", **options: Any) -> SynapseSparkBatchOperator:
    script = tmp_path / "totals.py"
    script.write_text(code)
    return SynapseSparkBatchOperator(task_id="totals", script=script, **options)


def defer(task: SynapseSparkBatchOperator, context: dict[str, Any]) -> RemoteJobTrigger:
    """Run the task until it sleeps; its trigger as another process gets it."""
    with pytest.raises(TaskDeferred) as caught:
        task.execute(context)
    _path, arguments = caught.value.trigger.serialize()
    return RemoteJobTrigger(**json.loads(json.dumps(arguments)))


def event(trigger: RemoteJobTrigger) -> dict[str, Any]:
    async def first() -> Any:
        return await asyncio.wait_for(anext(trigger.run()), 60)

    return asyncio.run(first()).payload


def batches(jobs: SynapseJobs, run_id: str) -> list[Any]:
    return [
        batch for page in jobs._client._pages() for batch in page if batch.name.startswith(f"sales-totals-{run_id}")
    ]


def states(jobs: SynapseJobs, context: dict[str, Any]) -> list[str]:
    return [batch.state for batch in batches(jobs, context["ti"].run_id)]


def test_a_batch_runs_while_the_task_sleeps(
    twin: Twin, jobs: SynapseJobs, context: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; print('sum of', sys.argv[1:])"
    trigger = defer(operator(tmp_path, code, arguments=["--day", "1"]), context)
    fired = event(trigger)
    woken = operator(tmp_path, code, arguments=["--day", "1"])

    job_id = woken.resume(context, fired)

    assert fired["state"] == "succeeded"
    assert f"livyId={job_id}&" in str(woken.job_link)
    assert states(jobs, context) == ["success"]
    told = capsys.readouterr().out
    assert told.count("sum of ['--day', '1']") == 1
    assert not [secret for secret in twin.planted_secrets if secret in told]


def test_a_batch_that_fails_fails_the_task_with_the_reason(
    jobs: SynapseJobs, context: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = operator(tmp_path, "raise ValueError('no such day')")
    fired = event(defer(task, context))
    with pytest.raises(JobError, match=r"failed: dead; User Spark_\w+: .*ValueError: no such day.* See https://web"):
        task.resume(context, fired)
    assert "ValueError: no such day" in capsys.readouterr().out


def test_a_second_try_finds_the_batch_of_the_first(
    twin: Twin, jobs: SynapseJobs, context: dict[str, Any], tmp_path: Path
) -> None:
    twin.set("synapse", endless=True)
    first = defer(operator(tmp_path), context)  # and the worker dies before Airflow knows that it sleeps
    second = defer(operator(tmp_path), context)
    assert first.job == second.job
    assert len(twin.requests("synapse", "POST")) == 1


def test_who_ends_the_task_ends_the_batch(
    twin: Twin, jobs: SynapseJobs, context: dict[str, Any], tmp_path: Path
) -> None:
    twin.set("synapse", endless=True)
    asyncio.run(defer(operator(tmp_path), context).on_kill())  # asleep
    assert states(jobs, context) == ["killed"]
    task = operator(tmp_path)
    defer(task, context)
    task.on_kill()  # not asleep yet
    assert states(jobs, context) == ["killed", "killed"]


def test_a_batch_whose_time_is_up_is_ended(
    twin: Twin, jobs: SynapseJobs, context: dict[str, Any], tmp_path: Path
) -> None:
    twin.set("synapse", endless=True)
    task = operator(tmp_path, execution_timeout=timedelta(seconds=0.5))
    fired = event(defer(task, context))
    with pytest.raises(JobError, match="timed out"):
        task.resume(context, fired)
    assert states(jobs, context) == ["killed"]


def test_what_trying_again_cannot_mend_ends_the_task(
    twin: Twin, jobs: SynapseJobs, context: dict[str, Any], tmp_path: Path
) -> None:
    twin.set("synapse", vcores=8)
    with pytest.raises(AirflowFailException, match=r"12 vcores.*8 core limit"):
        operator(tmp_path).execute(context)
