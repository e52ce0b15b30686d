"""Jobs on the twin's Azure ML, which really runs them, and misbehaves when it is told to."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noria.azure import ML, AzureConnection
from noria.compute.azureml import AzureMLJobs, Partitions, Search
from noria.compute.meter import available_cores
from noria.compute.remote import JobStatus
from noria.errors import AccessError, InputError, QuotaError, RefusedError, SpecError, UnavailableError
from noria.jobs.runner import run_stage
from noria.jobs.trial import best_trial
from noria.models.space import search_space
from noria.records import Candidate, JobUsage, Run
from noria.settings import Settings
from noria.stages.ingest import ingest
from noria.stages.train import train
from noria.workspace import Workspace
from tests.azure.live import Live, patience
from tests.azure.secrets import assert_no_secrets
from tests.azure.twin.client import Twin
from tests.support.learning import InlineWorkers

pytestmark = pytest.mark.slow
TINY = {
    "source.rows": "200",
    "estimators": '[{"kind": "linear"}, {"kind": "ridge"}]',
    "tuning.trials": "2",
    "tuning.folds": "2",
    "tuning.workers": "1",
    "evaluation.seeds": "2",
    "evaluation.learning_curve": "[0.5]",
}
TAGS = {"noria:pipeline": "students", "noria:stage": "train"}


class World:
    """A run on the twin, and what asks for its jobs."""

    def __init__(self, twin: Twin, home: Path, **extra: Any) -> None:
        self.twin = twin
        environment = {**os.environ, "NORIA_LAKE_URL": twin.lake_url(), "NORIA_HOME": str(home)}
        self.settings = Settings.from_env(environment)
        self.workspace = Workspace.open(self.settings)
        self.run = self.workspace.create_run("students", f"r{uuid.uuid4().hex[:8]}", overrides=TINY)
        self.name = f"students-{self.run.run_id}-train"
        self.connect(**extra)

    def connect(self, **extra: Any) -> None:
        """Another client, with this in the connection's extra."""
        connection = self.twin.connection(ML)
        self.jobs = AzureMLJobs(replace(connection, extra={**connection.extra, **extra}))

    def submit(self, run: Run | None = None) -> str:
        run = run or self.run
        return self.jobs.submit_stage("train", run, self.settings, name=f"students-{run.run_id}-train", tags=TAGS)

    def wait(self, job_id: str, until: Callable[[JobStatus], bool] = lambda status: status.is_final) -> JobStatus:
        deadline = time.monotonic() + patience(self.twin, 240)
        while time.monotonic() < deadline:
            status = self.jobs.status(job_id)
            if until(status):
                return status
            time.sleep(0.3)
        raise AssertionError(f"job {job_id} is still {status}; its log:\n{self.log(job_id)}")

    def succeeded(self, job_id: str) -> None:
        status = self.wait(job_id)
        assert status.state == "succeeded", f"{status}; its log:\n{self.log(job_id)}"

    def log(self, job_id: str) -> str:
        parts, position = [], 0
        while True:
            text, position = self.jobs.log(job_id, position)
            if not text:
                return "".join(parts)
            parts.append(text)

    def created(self) -> list[str]:
        """Jobs that were asked for, by name; a repetition counts."""
        return [seen.path.rpartition("/")[2] for seen in self.twin.requests("management", "PUT", "/jobs/")]

    def folder(self, job_id: str) -> Path:
        return self.twin.folder / "ml" / "jobs" / "noria" / job_id


@pytest.fixture
def world(twin: Twin, tmp_path: Path) -> World:
    return World(twin, tmp_path)


@pytest.fixture
def quick(world: World) -> World:
    """The same, with jobs that do next to nothing."""
    world.twin.set("management", command="echo did it")
    return world


def same(one: Candidate, other: Candidate) -> bool:
    """Whether two candidates differ only in where and how fast they were made."""

    def essence(candidate: Candidate) -> dict[str, Any]:
        facts = candidate.model_dump(exclude={"model", "training_rows", "cluster", "search_seconds"})
        return facts | {"contenders": [{**c, "seconds": 0} for c in facts["contenders"]]}

    return essence(one) == essence(other)


def assert_whole_nodes(world: World, job_id: str, run: Run, nodes: int) -> None:
    """What each node left of its use is what the platform's own times say, and the record has all of it."""
    used = world.jobs.use(job_id)
    assert used is not None
    assert used.usage.vcpu_seconds == pytest.approx(4 * nodes * used.usage.wall_seconds, abs=0.1)
    lake, day = world.workspace.lake, f"{used.finished_at:%Y-%m-%d}"
    left = [
        JobUsage.model_validate_json(lake.read(path)) for path in lake.list(f"metering/{day}/students/{run.run_id}")
    ]
    accounts = [job for job in left if job.stage == "train"]
    assert [job.outcome for job in accounts] == ["done"] * nodes
    assert {job.usage.machine.lower() for job in accounts} == {"azureml/standard_ds3_v2"}
    assert all(0.5 * used.usage.wall_seconds < job.usage.wall_seconds < used.usage.wall_seconds + 2 for job in accounts)
    assert all(job.usage.cpu_seconds > 0.5 for job in accounts)
    envelope = world.workspace.stage_run(run, "train")
    assert envelope is not None
    cores = available_cores()
    assert envelope.usage.vcpu_seconds == pytest.approx(nodes * cores * envelope.usage.wall_seconds, abs=0.1)


class TestTraining:
    def test_one_node_and_two_make_the_candidate_that_this_machine_makes(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_stage("ingest", ingest, world.run, world.workspace)
        other = world.workspace.create_run("students", f"{world.run.run_id}-2nodes", overrides=TINY)
        run_stage("ingest", ingest, other, world.workspace)
        one_id = world.submit()
        world.connect(nodes=2)
        two_id = world.submit(other)
        here = InlineWorkers()
        here.description = "this process"
        monkeypatch.setattr("noria.stages.train.dask_workers", lambda *_: nullcontext(here))
        local = train(world.run, world.workspace)
        assert here.jobs
        world.succeeded(one_id)
        world.succeeded(two_id)
        one = world.workspace.require(world.run, "train", Candidate)
        two = world.workspace.require(other, "train", Candidate)
        assert same(one, local)
        assert same(two, local)
        assert_whole_nodes(world, one_id, world.run, nodes=1)
        assert_whole_nodes(world, two_id, other, nodes=2)
        assert "holdout of" in world.log(one_id)
        assert "2 workers at tcp://" in two.cluster
        assert "2 Dask workers on 2 nodes" in world.log(two_id)
        if isinstance(world.twin, Live):  # which does not show what is on its nodes
            return
        assert (world.folder(one_id) / "node-0" / "wd" / "include" / "noria" / "jobs" / "train.py").is_file()
        assert figures(world.twin, one_id)["r2"] == pytest.approx(one.metrics["r2"])
        logs = sorted(path.name for path in (world.folder(two_id) / "user_logs").iterdir())
        assert logs == ["std_log_process_0.txt", "std_log_process_1.txt"]

    def test_a_node_that_dies_ends_the_job(self, world: World) -> None:
        assert world.twin.process.pid, "asked first, so that a subscription has not paid when it turns out to have none"
        run_stage("ingest", ingest, world.run, world.workspace)
        world.connect(nodes=2)
        job_id = world.submit()
        node = first(
            lambda: processes(world.twin, f"dask_node --pipeline students --run-id {world.run.run_id}", NODE_RANK="1")
        )
        node.kill()
        assert world.wait(job_id).state == "failed"
        assert gone(lambda: processes(world.twin, world.run.run_id))


class TestSubmitting:
    def test_a_job_says_whose_it_is_and_where_it_is(self, quick: World) -> None:
        job_id = quick.submit()
        assert job_id == quick.name
        sent = quick.jobs._client.jobs.get(job_id)
        assert sent.tags == TAGS
        assert sent.compute == "cluster"
        assert sent.environment_variables["NORIA_LAKE_URL"] == quick.settings.lake_url
        assert sent.environment_variables["NORIA_MACHINE"].lower() == "azureml/standard_ds3_v2"
        assert not [name for name in sent.environment_variables if "CONN" in name or "SECRET" in name]
        link = quick.jobs.link(job_id)
        assert link.startswith(f"https://ml.azure.com/runs/{job_id}?wsid=/subscriptions/")
        quick.succeeded(job_id)
        assert quick.log(job_id) == "did it\n"

    def test_a_user_assigned_identity_is_the_jobs(self, quick: World) -> None:
        quick.connect(identity_client_id="11111111-2222-3333-4444-555555555555")
        sent = quick.jobs._client.jobs.get(quick.submit())
        assert sent.identity.client_id == "11111111-2222-3333-4444-555555555555"
        assert sent.environment_variables["AZURE_CLIENT_ID"] == "11111111-2222-3333-4444-555555555555"

    def test_who_asks_again_finds_the_job(self, quick: World) -> None:
        quick.twin.set("management", command="sleep 60")
        first_id = quick.submit()
        quick.connect()  # as another process would
        assert quick.submit() == first_id
        assert quick.created() == [first_id]
        quick.jobs.cancel(first_id)

    def test_unchanged_code_and_environment_are_not_sent_again(self, quick: World) -> None:
        quick.submit()
        before = len(quick.twin.requests())
        run = quick.workspace.create_run("students", f"s{uuid.uuid4().hex[:8]}", overrides=TINY)
        written = len(quick.twin.requests("storage"))
        quick.connect()
        job_id = quick.submit(run)
        since = [r for r in quick.twin.requests()[before:] if r.service == "management"]
        assert [r.path.rpartition("/")[2] for r in since if r.method != "GET"] == [job_id]
        assert len(quick.twin.requests("storage")) == written

    def test_a_lost_job_is_followed_by_another(self, quick: World) -> None:
        quick.twin.set("management", command="exit 3")
        assert quick.wait(quick.submit()).state == "failed"
        quick.twin.set("management", command="sleep 60")
        second = quick.submit()
        assert second == f"{quick.name}-2"
        quick.jobs.cancel(second)
        assert quick.wait(second).state == "cancelled"
        quick.twin.set("management", command="true")
        third = quick.submit()
        assert third == f"{quick.name}-3"
        quick.succeeded(third)
        assert quick.submit() == third

    def test_a_lake_on_this_machine_is_refused_before_anything_is_sent(self, quick: World, tmp_path: Path) -> None:
        settings = quick.settings.replace(lake_url=str(tmp_path))
        with pytest.raises(InputError, match="cannot reach the lake"):
            quick.jobs.submit_stage("train", quick.run, settings, name=quick.name, tags=TAGS)
        assert quick.created() == []


class TestFaults:
    @pytest.mark.parametrize(
        ("status", "headers"), [(429, {"Retry-After": "1"}), (500, {}), (503, {"Retry-After": "1"})]
    )
    def test_what_passes_is_waited_out(self, quick: World, status: int, headers: dict[str, str]) -> None:
        quick.twin.fault("management", times=1, status=status, headers=headers)
        quick.twin.fault("management", method="PUT", path="/jobs/", times=1, status=status, headers=headers)
        job_id = quick.submit()
        quick.twin.fault("management", times=1, status=status, headers=headers)
        quick.succeeded(job_id)
        assert len(set(quick.created())) == 1

    def test_a_lost_answer_to_the_creation_makes_one_job(self, quick: World) -> None:
        quick.twin.fault("management", method="PUT", path="/jobs/", times=1, lose_response=True)
        job_id = quick.submit()
        quick.succeeded(job_id)
        assert set(quick.created()) == {job_id}
        assert quick.submit() == job_id

    def test_an_error_after_the_creation_does_not_make_a_second_job(self, quick: World) -> None:
        """The service has taken the job, the answer was lost, and every repetition is refused."""
        quick.twin.fault("management", method="PUT", path="/jobs/", times=1, lose_response=True)
        quick.twin.fault("management", method="PUT", path="/jobs/", times=1, status=400, body="{}")
        job_id = quick.submit()
        assert job_id == quick.name
        quick.succeeded(job_id)

    def test_a_service_that_does_not_answer_is_asked_again(self, quick: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("noria.azure.ml_client.READ_SECONDS", 1)
        quick.connect()
        quick.twin.fault("management", method="GET", times=1, delay_seconds=2)
        quick.succeeded(quick.submit())

    def test_a_token_that_is_refused_is_renewed_while_a_job_is_followed(self, quick: World) -> None:
        """All by one object, as a trigger holds it: each call presents a token that was good a moment ago."""
        quick.twin.set("management", command="echo at work; sleep 60")
        job_id = self.refused_once(quick, quick.submit)
        assert quick.created() == [job_id]
        assert quick.wait(job_id, lambda status: status.state == "running")
        assert self.refused_once(quick, lambda: quick.jobs.status(job_id)).state == "running"
        first_words(quick, job_id)
        assert self.refused_once(quick, lambda: quick.jobs.log(job_id, 0)) == ("at work\n", 8)
        self.refused_once(quick, lambda: quick.jobs.cancel(job_id))
        assert quick.wait(job_id).state == "cancelled"

    def test_a_service_that_refuses_every_token_is_asked_twice(self, quick: World) -> None:
        quick.jobs.cancel("no-such-job")  # it has a token
        quick.twin.set("identity", refuse_before=time.time() + 600)
        asked = len(quick.twin.requests("management"))
        with pytest.raises(AccessError):
            quick.jobs.status("no-such-job")
        assert [seen.status for seen in quick.twin.requests("management")[asked:]] == [401, 401]

    @staticmethod
    def refused_once(world: World, call: Callable[[], Any]) -> Any:
        """What a call answers whose token is refused from now on; the client has one that it holds for good."""
        world.jobs.cancel("no-such-job")
        world.twin.set("identity", refuse_before=time.time())
        seen = len(world.twin.requests("management"))
        answer = call()
        assert [r.status for r in world.twin.requests("management")[seen:]].count(401) == 1
        return answer

    def test_a_job_that_fails_says_why(self, quick: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("DEBUG")
        quick.twin.set("management", command="echo some words; echo and more >&2; exit 3")
        job_id = quick.submit()
        status = quick.wait(job_id)
        assert status.state == "failed"
        assert "exited with status code 3" in status.detail
        assert quick.log(job_id) == "some words\nand more\n"
        (tmp_path / "log.txt").write_text(caplog.text + status.detail)
        assert_no_secrets([tmp_path / "log.txt"], [s for s in quick.twin.planted_secrets if len(s) > 8])

    def test_no_capacity_is_told_from_a_bug(self, quick: World) -> None:
        message = "Allocation failed. We do not have sufficient capacity for the requested VM size in this region."
        quick.twin.set("management", fail_with={"code": "AllocationFailed", "message": message})
        status = quick.wait(quick.submit())
        assert status.state == "failed"
        assert "no free machines of this size" in status.detail
        assert quick.log(quick.name) == ""

    def test_a_full_quota_is_told_from_a_bug(self, quick: World) -> None:
        quick.twin.set("management", quota_full=True)
        with pytest.raises(QuotaError, match="Azure ML workspace noria: the quota is full"):
            quick.submit()

    def test_a_missing_role_is_named(self, quick: World) -> None:
        body = {"error": {"code": "AuthorizationFailed", "message": "The client does not have authorization."}}
        quick.twin.fault("management", path="/jobs/", status=403, body=json.dumps(body))
        with pytest.raises(AccessError, match="AzureML Data Scientist"):
            quick.submit()

    def test_a_workspace_that_is_gone_is_no_reason_to_create_a_job(self, quick: World) -> None:
        quick.connect(workspace="elsewhere")
        with pytest.raises(RefusedError, match="elsewhere"):
            quick.submit()
        assert quick.created() == []

    def test_a_slow_pool_is_waited_for(self, quick: World) -> None:
        quick.twin.set("management", queue_seconds=600)
        job_id = quick.submit()
        assert quick.wait(job_id, lambda status: status.detail == "Queued").state == "waiting"
        assert quick.jobs.log(job_id, 0) == ("", 0)
        quick.twin.set("management", queue_seconds=0)
        quick.succeeded(job_id)

    def test_nobody_answers(self, quick: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("noria.azure.ml_client._RETRIES", {"retry_total": 0})
        quick.connect()
        quick.twin.fault("management", status=503)
        with pytest.raises(UnavailableError, match="does not answer well"):
            quick.submit()


class TestCancelling:
    def test_a_job_that_never_ends_is_killed(self, quick: World) -> None:
        marker = f"sleep {int(time.time()) % 100000 + 100000}"
        quick.twin.set("management", command=f"sh -c '{marker}' & {marker}")
        job_id = quick.submit()
        first(lambda: processes(quick.twin, marker))
        quick.jobs.cancel(job_id)
        assert quick.wait(job_id).state == "cancelled"
        assert gone(lambda: processes(quick.twin, marker))
        quick.jobs.cancel(job_id)  # once more changes nothing

    def test_what_is_not_there_or_has_ended_is_left_alone(self, quick: World) -> None:
        quick.jobs.cancel("no-such-job")
        job_id = quick.submit()
        quick.succeeded(job_id)
        quick.jobs.cancel(job_id)
        assert quick.jobs.status(job_id).state == "succeeded"

    def test_a_lost_answer_is_no_error(self, quick: World) -> None:
        quick.twin.set("management", command="sleep 30")
        job_id = quick.submit()
        quick.twin.fault("management", method="POST", path="/cancel", times=1, lose_response=True)
        quick.jobs.cancel(job_id)
        assert quick.wait(job_id).state == "cancelled"


class TestSweep:
    def test_the_best_trial_is_that_of_the_folds_here(self, world: World) -> None:
        run_stage("ingest", ingest, world.run, world.workspace)
        space = search_space(world.run.pipeline.estimators[1], "regression")
        search = Search("ridge", space, trials=2, concurrent=2)
        job_id = world.jobs.submit_search(search, world.run, world.settings, name=f"{world.name}-sweep", tags=TAGS)
        world.succeeded(job_id)
        best = best_trial(world.run, world.workspace, "ridge")
        job = world.jobs._client.jobs.get(job_id)
        assert float(job.properties["score"]) == pytest.approx(best["score"])
        assert 0.01 <= best["params"]["alpha"] <= 100
        assert f"{job_id}_1" in world.log(job_id)

    def test_a_policy_ends_trials_that_are_behind(self, quick: World) -> None:
        """The first trial is good, and the others, which would go on for a minute, are judged by it."""
        quick.twin.set("management", command=f"python -c '{REPORTER}'")
        space = search_space(quick.run.pipeline.estimators[1], "regression")
        search = Search("ridge", space, trials=3, concurrent=3, stopping="bandit")
        job_id = quick.jobs.submit_search(search, quick.run, quick.settings, name=quick.name, tags=TAGS)
        quick.succeeded(job_id)
        words = quick.log(job_id)
        assert words.count("Canceled") == 2
        assert words.count("Completed") == 1

    def test_what_cannot_be_said_is_refused_before_anything_is_sent(self, quick: World) -> None:
        space = search_space(quick.run.pipeline.estimators[1], "regression")
        search = Search("ridge", space, trials=3, sampling="bayesian")
        with pytest.raises(SpecError, match=r"ridge\.search\.alpha.*logarithmic"):
            quick.jobs.submit_search(search, quick.run, quick.settings, name=quick.name, tags=TAGS)
        assert not quick.twin.requests("management")


class TestPartitions:
    def test_every_file_has_its_row(self, world: World, tmp_path: Path) -> None:
        table = run_stage("ingest", ingest, world.run, world.workspace)
        snapshot = json.loads(world.workspace.lake.read(table))["record"]
        with world.workspace.lake.local(snapshot["table"]) as file:
            rows = pq.read_table(file)
        for key, part in {"a": rows.slice(0, 120), "b": rows.slice(80, 120), "c": rows.slice(0, 4)}.items():
            pq.write_table(pa.Table.from_batches(part.to_batches()), tmp_path / f"{key}.parquet")
            world.workspace.lake.put(tmp_path / f"{key}.parquet", f"partitions/{key}.parquet")
        partitions = Partitions(world.workspace.lake.url("partitions"), workers=2, batch=2)
        job_id = world.jobs.submit_partitions(
            partitions, world.run, world.settings, name=f"{world.name}-parts", tags=TAGS
        )
        world.succeeded(job_id)
        kept = {}
        for path in world.workspace.lake.list(f"runs/students/{world.run.run_id}/partitions"):
            row = json.loads(world.workspace.lake.read(path))
            kept[row["partition"]] = row
        assert sorted(kept) == ["a", "b", "c"]
        assert kept["a"]["score"] > 0.5
        assert "training rows" in kept["c"]["error"]
        if isinstance(world.twin, Live):
            return
        gathered = (world.folder(job_id).with_name(f"{job_id}.rows")).read_text().splitlines()
        assert [json.loads(line)["partition"] for line in gathered] == ["a", "b", "c"]

    def test_a_batch_that_fails_is_tried_again_and_then_fails_the_job(self, quick: World, tmp_path: Path) -> None:
        pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
        quick.workspace.lake.put(tmp_path / "a.parquet", "partitions/a.parquet")
        quick.twin.set("management", command="echo no luck; exit 1")
        partitions = Partitions(quick.workspace.lake.url("partitions"), attempts=2)
        job_id = quick.jobs.submit_partitions(partitions, quick.run, quick.settings, name=quick.name, tags=TAGS)
        status = quick.wait(job_id)
        assert (status.state, "failed mini batches (1)" in status.detail) == ("failed", True)
        assert quick.log(job_id).count("no luck") == 2


def test_a_connection_without_a_workspace_is_refused() -> None:
    with pytest.raises(InputError, match="subscriptionId"):
        AzureMLJobs(AzureConnection("azureml_default")).status("x")


REPORTER = """
import json, os, time, urllib.request
first = os.environ["AZUREML_RUN_ID"].endswith("_0")
def log(value, step):
    body = {"run_id": os.environ["MLFLOW_RUN_ID"], "key": "r2", "value": value, "timestamp": 1, "step": step}
    url = os.environ["MLFLOW_TRACKING_URI"] + "/api/2.0/mlflow/runs/log-metric"
    data = json.dumps(body).encode()
    urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json"}))
log(0.9 if first else 0.1, 1)
log(0.9 if first else 0.1, 2)
first or time.sleep(60)
"""


def first_words(world: World, job_id: str) -> None:
    """Wait until the job has written something."""
    deadline = time.monotonic() + 30
    while not world.log(job_id):
        assert time.monotonic() < deadline, f"job {job_id} wrote nothing"
        time.sleep(0.1)


def figures(twin: Twin, job_id: str) -> dict[str, float]:
    """What MLflow has of a job."""
    with sqlite3.connect(twin.folder / "ml" / "mlflow" / "mlflow.db") as db:
        rows = db.execute(
            "select m.key, m.value from latest_metrics m join tags t on m.run_uuid = t.run_uuid"
            " where t.key = 'mlflow.runName' and t.value = ?",
            (job_id,),
        )
        return dict(rows.fetchall())


def processes(twin: Twin, word: str, **variables: str) -> list[psutil.Process]:
    """The twin's descendants with a word in their command line and these variables."""
    found = []
    for process in psutil.Process(twin.process.pid).children(recursive=True):
        try:
            environment = process.environ()
            if word in " ".join(process.cmdline()) and variables.items() <= environment.items():
                found.append(process)
        except psutil.Error:
            continue
    return found


def first(find: Callable[[], list[psutil.Process]]) -> psutil.Process:
    """The first of what is found, once there is any."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := find():
            return found[0]
        time.sleep(0.1)
    raise AssertionError("no such process came")


def gone(find: Callable[[], list[psutil.Process]]) -> bool:
    """Whether nothing is found any more, soon."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if not find():
            return True
        time.sleep(0.1)
    return False
