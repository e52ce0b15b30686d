"""The operators for Azure ML on the twin: asleep, woken, killed, tried again."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support import airflow  # noqa: F401  before anything imports Airflow

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred  # isort: skip
from noria.airflow import remote
from noria.airflow.azureml import (
    AzureMLCommandOperator,
    AzureMLHook,
    AzureMLJobOperator,
    AzureMLParallelOperator,
    AzureMLRegisterModelOperator,
    AzureMLSweepOperator,
)
from noria.airflow.remote import RemoteJobTrigger
from noria.azure import ML, PRODUCTION
from noria.errors import JobError, RefusedError
from noria.records import Decision, JobUsage, StageRun, Usage
from noria.registry import Registry, open_azureml_registry
from noria.settings import Settings
from noria.workspace import Workspace, run_path, to_json
from tests.azure.twin.client import Twin
from tests.support.registering import Judged, judged_now

pytestmark = pytest.mark.slow
RUN = ""
"""Id of the run; each test has one of its own, and by it jobs of its own."""


@pytest.fixture
def workspace(twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path))
    monkeypatch.setenv("NORIA_LAKE_URL", twin.lake_url())
    monkeypatch.setattr(remote, "FIRST_POLL_SECONDS", 0.1)
    global RUN  # noqa: PLW0603
    RUN = f"manual__{uuid.uuid4().hex[:8]}"
    found = Workspace.open(Settings.from_env())
    found.create_run("students", RUN)
    twin.set("management", command="echo at work")
    return found


def defer(task: AzureMLJobOperator) -> RemoteJobTrigger:
    """Run the task until it sleeps; its trigger as another process gets it."""
    with pytest.raises(TaskDeferred) as caught:
        task.execute({})
    _path, arguments = caught.value.trigger.serialize()
    return RemoteJobTrigger(**json.loads(json.dumps(arguments)))


def event(trigger: RemoteJobTrigger) -> dict[str, Any]:
    async def first() -> Any:
        return await asyncio.wait_for(anext(trigger.run()), 120)

    payload: dict[str, Any] = asyncio.run(first()).payload
    return payload


def command(**options: Any) -> AzureMLCommandOperator:
    return AzureMLCommandOperator(task_id="train", pipeline="students", run_id=RUN, **options)


def keep(workspace: Workspace, stage: str, record: Any, name: str = "students", run_id: str = "") -> None:
    run_id, now = run_id or RUN, datetime.now(UTC)
    usage = Usage(wall_seconds=1, cpu_seconds=1, peak_rss_bytes=1, vcpu_seconds=1)
    envelope = StageRun(
        pipeline=name, run_id=run_id, stage=stage, started_at=now, finished_at=now, usage=usage,
        record=record.model_dump(mode="json"),
    )  # fmt: skip
    workspace.lake.create(run_path(name, run_id, stage), to_json(envelope))


def test_a_task_sleeps_while_its_job_runs(workspace: Workspace) -> None:
    task = command()
    trigger = defer(task)
    assert task.job_link is not None
    assert task.job_link.startswith("https://ml.azure.com/runs/")
    ended = event(trigger)
    assert ended["state"] == "succeeded"
    assert task.resume({}, ended) == f"runs/students/{RUN}/train.json"


def test_a_retry_finds_the_job_and_a_failure_names_its_reason(
    twin: Twin, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    twin.set("management", command="echo the last words; exit 1", queue_seconds=600)
    first, second = defer(command()), defer(command())
    assert first.job == second.job
    twin.set("management", queue_seconds=0)
    ended = event(second)
    assert "the last words" in capsys.readouterr().out  # line by line, while it runs
    with pytest.raises(JobError, match="exited with status code 1"):
        command().resume({}, ended)
    assert "the last words" in capsys.readouterr().out  # and behind all else, where people look
    assert len(twin.requests("management", "PUT", "/jobs/")) == 1
    assert defer(command()).job["job_id"] == f"{first.job['job_id']}-2"


def test_a_task_whose_time_is_up_ends_its_job(twin: Twin, workspace: Workspace) -> None:
    twin.set("management", command="sleep 60")
    task = command(execution_timeout=timedelta(seconds=0.5))
    trigger = defer(task)
    ended = event(trigger)
    with pytest.raises(JobError, match="timed out"):
        task.resume({}, ended)
    assert event(RemoteJobTrigger(trigger.job))["state"] == "cancelled"


def test_a_job_that_waits_says_what_its_cluster_lacks(twin: Twin, workspace: Workspace) -> None:
    full = {"code": "ClusterCoreQuotaReached", "message": "Operation results in exceeding quota limits of 8 cores."}
    twin.set("management", queue_seconds=600, compute_errors=[full])
    trigger, jobs = defer(command()), AzureMLHook().get_conn()
    status = jobs.status(trigger.job["job_id"])
    jobs.cancel(trigger.job["job_id"])
    assert status.state == "waiting"
    assert re.search(
        r"; compute \S+: the quota is full \(ClusterCoreQuotaReached.*8 cores.*Ask for more", status.detail
    )


def test_a_task_that_is_ended_ends_its_job(twin: Twin, workspace: Workspace) -> None:
    twin.set("management", command="sleep 60")
    trigger = defer(command())
    asyncio.run(trigger.on_kill())
    assert event(trigger)["state"] == "cancelled"


def test_a_task_that_is_ended_before_it_sleeps_ends_its_job(twin: Twin, workspace: Workspace) -> None:
    twin.set("management", command="sleep 60")
    task = command()
    trigger = defer(task)
    task.on_kill()
    assert event(trigger)["state"] == "cancelled"


def test_a_quota_that_is_full_is_not_tried_again(twin: Twin, workspace: Workspace) -> None:
    twin.set("management", quota_full=True)
    with pytest.raises(AirflowFailException, match="the quota is full"):
        command().execute({})


def test_a_sweep_of_nothing_is_refused_before_anything_is_sent(twin: Twin, workspace: Workspace) -> None:
    for estimator, words in (("linear", "nothing to search"), ("oak", "no estimator oak")):
        task = AzureMLSweepOperator(task_id="s", pipeline="students", run_id=RUN, estimator=estimator)
        with pytest.raises(AirflowFailException, match=words):
            task.execute({})
    assert not twin.requests("management")


def test_the_result_of_a_sweep_is_its_best_trial(twin: Twin, workspace: Workspace) -> None:
    """The trial that runs says its score to Azure ML; what its like have left in the lake is what is chosen from."""
    twin.set("management", command=f"python -c '{SCORE}'")
    trials = [{"params": {"alpha": alpha}, "score": score} for alpha, score in ((1.0, 0.8), (2.0, 0.9), (3.0, 0.7))]
    task = AzureMLSweepOperator(task_id="s", pipeline="students", run_id=RUN, estimator="ridge", trials=1)
    folder = f"runs/students/{RUN}/search/ridge/{task._search_key({})}"
    for number, trial in enumerate(trials):
        workspace.lake.create(f"{folder}/{number}.json", json.dumps(trial).encode())
    other = json.dumps({"params": {"alpha": 9.0}, "score": 1.0}).encode()
    workspace.lake.create(f"runs/students/{RUN}/search/ridge/of-another-search/0.json", other)
    assert task.resume({}, event(defer(task))) == trials[1]


def test_a_sweep_ends_by_its_cap_and_keeps_the_best(
    twin: Twin, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight vCPU-seconds on one node of four are two seconds; a sweep that somebody has cancelled has no result."""
    monkeypatch.setattr("noria.compute.azureml.sweep._LEAST_SECONDS", 1)  # nobody waits for a minute here
    monkeypatch.setattr("azure.ai.ml.entities._job.job_limits._get_floored_timeout", lambda seconds: seconds)
    twin.set("management", command="sleep 1")
    run = workspace.create_run("students", f"{RUN}-capped", overrides={"tuning.max_vcpu_seconds": "8"})
    task = AzureMLSweepOperator(task_id="s", pipeline="students", run_id=run.run_id, estimator="ridge", concurrent=1)
    ended = event(defer(task))
    assert ended["state"] == "cancelled"
    with pytest.raises(AirflowFailException, match="no trial of ridge left a score"):
        task.resume({}, ended)
    best = {"params": {"alpha": 1.0}, "score": 0.8}
    path = f"runs/students/{run.run_id}/search/ridge/{task._search_key({})}/0.json"
    workspace.lake.create(path, json.dumps(best).encode())
    assert task.resume({}, ended) == {**best, "stopped_by": "cap"}
    monkeypatch.setattr("noria.compute.azureml.jobs._ALMOST", 1e6)  # as if it had ended long before its time
    with pytest.raises(JobError, match="cancelled"):
        task.resume({}, ended)


def test_partitions_end_in_a_folder_of_the_lake(twin: Twin, workspace: Workspace) -> None:
    twin.set("management", command='echo "[\\"{}\\"]" > "$HOME/../../../$AZUREML_RUN_ID.rows.json"')  # one row
    workspace.lake.create("partitions/a.parquet", b"")
    task = AzureMLParallelOperator(task_id="p", pipeline="students", run_id=RUN, folder="partitions")
    assert task.resume({}, event(defer(task))) == f"runs/students/{RUN}/partitions/{task._partitions_key({})}"
    (path,) = [path for path in workspace.lake.list("metering") if f"/{RUN}/partitions-" in path]
    job = JobUsage.model_validate_json(workspace.lake.read(path))
    assert job.usage.vcpu_seconds == pytest.approx(4 * job.usage.wall_seconds, abs=0.01)


def test_a_model_that_was_not_promoted_is_not_registered(workspace: Workspace) -> None:
    keep(workspace, "promote", Decision(verdict="keep", rules=(), reasons=(), candidate_metrics={}))
    task = AzureMLRegisterModelOperator(task_id="r", pipeline="students", run_id=RUN)
    with pytest.raises(AirflowSkipException, match="verdict is keep"):
        task.execute({})


@pytest.fixture
def published(workspace: Workspace, twin: Twin, tmp_path: Path) -> Published:
    elsewhere = open_azureml_registry(twin.connection(ML), workspace.keyring)
    return Published(workspace, elsewhere, tmp_path, f"p{uuid.uuid4().hex[:8]}")


@dataclass
class Published:
    """Runs of a pipeline that is new to both registries, its own (production) and the one that is published to."""

    workspace: Workspace
    elsewhere: Registry
    folder: Path
    name: str

    def train(self, run_id: str, **decision: Any) -> Judged:
        """A run whose model waits for its verdict; the decision that promote has left."""
        registry = self.workspace.registry
        one = judged_now(registry, self.folder, self.name, run_id, keyring=self.workspace.keyring)
        self.workspace.lake.replace(f"models/{run_id}", one.file.read_bytes())
        candidate = one.candidate.model_copy(update={"model": f"models/{run_id}"})
        self.workspace.lake.create(run_path(self.name, run_id, "run"), to_json(one.run))
        keep(self.workspace, "train", candidate, self.name, run_id)
        facts = {"verdict": "promote", "rules": (), "reasons": (), "candidate_metrics": {}, "registered_version": "1"}
        keep(self.workspace, "promote", Decision.model_validate({**facts, **decision}), self.name, run_id)
        return one

    def publish(self, run_id: str, conn_id: str = ML) -> str:
        return AzureMLRegisterModelOperator(task_id="r", pipeline=self.name, run_id=run_id, conn_id=conn_id).execute({})


def test_a_promoted_model_is_registered_once(published: Published) -> None:
    one = published.train("r1")
    one.promote(published.workspace.registry)
    version = published.publish("r1")
    assert published.publish("r1") == version
    (found,) = published.elsewhere.history(published.name)
    assert found.model_sha256 == one.candidate.model_sha256 and found.is_champion
    assert published.elsewhere.audit(published.name) == []
    own = published.workspace.registry.history(published.name)
    assert published.publish("r1", PRODUCTION) == own[0].version
    assert published.workspace.registry.history(published.name) == own


def test_each_registry_has_its_own_champion(published: Published) -> None:
    """The second model comes into an empty registry, the third beside it; the first, late, is no champion."""
    for run_id in ("r1", "r2", "r3"):
        published.train(run_id).promote(published.workspace.registry)
    for run_id, champion_run in (("r2", "r2"), ("r3", "r3"), ("r1", "r3"), ("r2", "r3")):
        published.publish(run_id)
        found = published.elsewhere.champion(published.name)
        assert found is not None and found.run_id == champion_run
    assert len(published.elsewhere.history(published.name)) == 3
    assert published.elsewhere.audit(published.name) == []


def test_a_model_without_a_valid_verdict_is_not_published(published: Published) -> None:
    """The decision in the lake says promote, which anybody may have written; the registry holds nothing signed."""
    published.train("r1")
    with pytest.raises(AirflowFailException, match=r"no version of p.* has a valid verdict on run r1"):
        published.publish("r1")
    assert published.elsewhere.history(published.name) == []


def test_a_model_that_waits_for_approval_is_not_published(published: Published) -> None:
    published.train("r1", waiting=True).register(published.workspace.registry)
    with pytest.raises(AirflowSkipException, match="waits for approval"):
        published.publish("r1")


def test_the_hook_reaches_the_workspace(twin: Twin) -> None:
    with pytest.raises(RefusedError, match="Azure ML workspace noria: there is no such thing"):
        AzureMLHook().get_conn().status("no-such-job")
    assert [seen.status for seen in twin.requests("management", "GET", "/workspaces/noria/jobs/no-such-job")] == [404]


SCORE = """
import json, os, urllib.request
body = {"run_id": os.environ["MLFLOW_RUN_ID"], "key": "r2", "value": 0.5, "timestamp": 1, "step": 1}
url = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/log-metric"
headers = {"Content-Type": "application/json"}
urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers))
"""
