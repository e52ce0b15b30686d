"""Synapse's words as ours, and ours as Synapse's; what it does with them is in tests/azure/test_synapse.py."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.core.exceptions import HttpResponseError, ServiceResponseError
from azure.synapse.spark.models import (
    SparkBatchJob,
    SparkBatchJobOptions,
    SparkScheduler,
    SparkServiceError,
    SparkServicePlugin,
)

from noria.azure import renewal
from noria.azure.connection import AzureConnection
from noria.azure.errors import Service, explained
from noria.compute import synapse, synapse_client
from noria.compute.synapse import Sizes, SynapseJobs, status_of
from noria.errors import AccessError, InputError, NoriaError, QuotaError, RefusedError, UnavailableError
from noria.lake import open_lake

EXTRA = {"sparkPool": "small", "subscriptionId": "sub", "resourceGroup": "group"}
VCORES = "Your Spark job requested 12 vcores. However, the workspace has a 0 core limit."
ROLE = (
    "The principal '94bc' does not have the required Synapse RBAC permission to perform this action. "
    "Required permission: Action: Microsoft.Synapse/workspaces/bigDataPools/useCompute/action, "
    "Scope: workspaces/ws/bigDataPools/small."
)


def connection(host: str = "https://ws.dev.azuresynapse.net", **extra: object) -> AzureConnection:
    return AzureConnection("azure_synapse_default", host=host, extra=EXTRA | extra)


class Pool:
    """In place of the client: batches by id."""

    def __init__(self, *batches: SparkBatchJob) -> None:
        self.batches = {str(batch.id): batch for batch in batches}
        self.sent: list[SparkBatchJobOptions] = []

    def get(self, batch_id: str) -> SparkBatchJob:
        return self.batches[batch_id]

    def named(self, name: str) -> Any:
        return (batch for batch in self.batches.values() if batch.name == name)

    def create(self, options: SparkBatchJobOptions, _known: set[int]) -> SparkBatchJob:
        self.sent.append(options)
        batch = SparkBatchJob(id=len(self.batches) + 1, name=options.name, state="not_started")
        return self.batches.setdefault(str(batch.id), batch)


def jobs(*batches: SparkBatchJob, **extra: object) -> tuple[SynapseJobs, Pool]:
    pool = Pool(*batches)
    found = SynapseJobs(connection(**extra))
    found._client = pool  # type: ignore[assignment]
    return found, pool


@pytest.mark.parametrize(
    ("state", "result", "expected"),
    [
        ("not_started", "Uncertain", "waiting"),
        ("starting", "Uncertain", "waiting"),
        ("recovering", "Uncertain", "running"),
        ("running", "Uncertain", "running"),
        ("busy", None, "running"),
        ("shutting_down", "Uncertain", "running"),
        ("success", "Uncertain", "succeeded"),
        ("success", "Succeeded", "succeeded"),
        ("success", "Failed", "failed"),
        ("dead", "Failed", "failed"),
        ("error", "Uncertain", "failed"),
        ("killed", "Uncertain", "cancelled"),
        ("dead", "Cancelled", "cancelled"),
        ("a word of tomorrow", "Uncertain", "running"),
        (None, None, "waiting"),
    ],
)
def test_synapse_has_its_words_and_we_have_ours(state: str | None, result: str | None, expected: str) -> None:
    assert status_of(SparkBatchJob(id=1, state=state, result=result)).state == expected


def test_every_state_of_the_sdk_is_known() -> None:
    from azure.synapse.spark.models import LivyStates, SparkBatchJobResultType

    assert {state.value for state in LivyStates} == set(synapse._STATES)
    assert {result.value.lower() for result in SparkBatchJobResultType} == {*synapse._RESULTS, "uncertain"}


def test_a_batch_that_waits_says_what_for() -> None:
    batch = SparkBatchJob(id=1, state="starting", plugin=SparkServicePlugin(current_state="ResourceAcquisition"))
    assert status_of(batch).detail == "starting (ResourceAcquisition)"


def test_a_failure_has_livys_reason_without_secrets() -> None:
    errors = [
        SparkServiceError(source="User", error_code="Spark_User_TypeError", message="no column age"),
        SparkServiceError(message="see https://x.blob.core.windows.net/log?sv=1&sig=S3CRET"),
    ]
    status = status_of(SparkBatchJob(id=1, state="dead", result="Failed", errors=errors))
    assert status.detail.startswith("dead; User Spark_User_TypeError: no column age; see https://x.blob")
    assert "S3CRET" not in status.detail


def test_the_link_leads_to_the_batch_in_synapse_studio() -> None:
    link = urlsplit(jobs(SparkBatchJob(id=7, name="a b/c"))[0].link("7"))
    assert (link.netloc, link.path) == ("web.azuresynapse.net", "/en/monitoring/sparkapplication/a%20b%2Fc")
    assert parse_qs(link.query) == {
        "workspace": ["/subscriptions/sub/resourceGroups/group/providers/Microsoft.Synapse/workspaces/ws"],
        "livyId": ["7"],
        "sparkPoolName": ["small"],
    }


def test_without_the_workspaces_place_the_link_leads_to_the_studio() -> None:
    assert jobs(SparkBatchJob(id=7, name="x"), resourceGroup="")[0].link("7") == (
        "https://web.azuresynapse.net/en/monitoring/sparkapplication"
    )


def test_sizes_come_from_the_connection() -> None:
    given = Sizes.of(connection(driverCores=8, driverMemory="56g", executorCount="5"))
    assert given == Sizes(driver_cores=8, driver_memory="56g", executor_count=5)


def test_a_size_that_is_no_number_is_refused_by_its_key() -> None:
    with pytest.raises(InputError, match=r"extra\.executorCount of connection azure_synapse_default is 'many'"):
        Sizes.of(connection(executorCount="many"))


@pytest.mark.parametrize(("host", "extra", "missing"), [("", {}, "no host"), ("h", {"sparkPool": ""}, "sparkPool")])
def test_a_connection_that_lacks_something_says_what(host: str, extra: dict[str, str], missing: str) -> None:
    with pytest.raises(InputError, match=missing):
        SynapseJobs(connection(host, **extra))


def test_a_batch_carries_arguments_tags_and_sizes_as_livy_knows_them(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text("print()")
    found, pool = jobs()

    job_id = found.submit(
        "name", script, ["--x", "1"], lake=open_lake(str(tmp_path / "lake")), tags={"a": "b"}, configuration={"c": "d"}
    )

    body = pool.sent[0].serialize()
    assert job_id == "1"
    assert body.pop("file").endswith("/job.py")
    assert body == {
        "name": "name",
        "args": ["--x", "1"],
        "tags": {"a": "b"},
        "conf": {"livy.rsc.synapse.error-classification.enabled": "true", "c": "d"},
        "driverCores": 4,
        "driverMemory": "28g",
        "executorCores": 4,
        "executorMemory": "28g",
        "numExecutors": 2,
    }


@pytest.mark.parametrize(("state", "again"), [("running", False), ("success", False), ("dead", True), ("killed", True)])
def test_a_batch_of_that_name_is_taken_unless_it_failed(tmp_path: Path, state: str, again: bool) -> None:
    script = tmp_path / "job.py"
    script.touch()
    found, pool = jobs(
        SparkBatchJob(id=1, name="name", state=state), SparkBatchJob(id=2, name="other", state="running")
    )
    job_id = found.submit("name", script, [], lake=open_lake(str(tmp_path / "lake")))
    assert (job_id, len(pool.sent)) == (("3", 1) if again else ("1", 0))


def test_a_request_that_livy_would_not_take_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.touch()
    found, pool = jobs()
    with pytest.raises(InputError, match="100,000 bytes, which is Livy's limit"):
        found.submit("name", script, ["x" * 100_000], lake=open_lake(str(tmp_path / "lake")))
    assert pool.sent == []


def test_a_script_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.py: No such file"):
        jobs()[0].submit("name", tmp_path / "nowhere.py", [], lake=open_lake(str(tmp_path / "lake")))


class Answer:
    """What the SDK's exceptions hold."""

    reason = "reason"

    def __init__(self, status: int, body: object, **headers: str) -> None:
        self.status_code, self._body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def text(self) -> str:
        return self._body if isinstance(self._body, str) else json.dumps(self._body)


@pytest.mark.parametrize(
    ("status", "body", "expected", "said"),
    [
        (400, {"TraceId": "x", "Message": VCORES}, QuotaError, "12 vcores"),
        (400, {"Message": "Could not find member 'x'"}, RefusedError, "Could not find member"),
        (401, {"error": {"code": "Unauthorized", "message": ROLE}}, AccessError, "Synapse Compute Operator"),
        (403, {"code": "AccessControlUnauthorized", "message": ROLE}, AccessError, "Synapse Compute Operator"),
        (404, {"Message": "Spark pool small is not found"}, RefusedError, "Spark pool small is not found"),
        (429, {"Message": "slow down"}, UnavailableError, "slow down"),
        (503, "<html>", UnavailableError, "503"),
    ],
)
def test_a_refusal_in_any_form_says_what_is_wrong(
    status: int, body: object, expected: type[NoriaError], said: str
) -> None:
    with pytest.raises(expected, match=said) as caught, explained("Spark pool small", Service.SYNAPSE):
        raise HttpResponseError(response=Answer(status, body))  # type: ignore[arg-type]
    assert "Spark pool small" in str(caught.value)


@pytest.mark.parametrize(
    ("failures", "headers", "seconds"),
    [(1, {}, 0.5), (3, {}, 2.0), (9, {}, 15.0), (1, {"Retry_After": "7"}, 7.0), (4, {"Retry_After": "1"}, 4.0)],
)
def test_pauses_double_and_are_at_least_what_the_service_asks_for(
    failures: int, headers: dict[str, str], seconds: float
) -> None:
    error = UnavailableError("throttled")
    error.__context__ = HttpResponseError(response=Answer(429, "", **headers))  # type: ignore[arg-type]
    assert synapse_client.pause_seconds(error, failures) == seconds


class Clock:
    """Time that passes by waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(renewal.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(renewal.time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("headers", [{}, {"Retry_After": "1"}, {"Retry_After": "10"}])
def test_half_a_minute_of_throttling_is_survived(monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]) -> None:
    clock, client = Clock(monkeypatch), synapse_client.PoolClient(connection(), "https://ws", "small", "pool")

    def throttled() -> str:
        if clock.now < 30:
            raise HttpResponseError(response=Answer(429, "", **headers))  # type: ignore[arg-type]
        return "done"

    assert client._ask(throttled) == "done"
    assert clock.now < 60


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, client = Clock(monkeypatch), synapse_client.PoolClient(connection(), "https://ws", "small", "pool")

    def down() -> str:
        raise HttpResponseError(response=Answer(503, "{}"))  # type: ignore[arg-type]

    with pytest.raises(UnavailableError, match="503"):
        client._ask(down)
    assert 100 < clock.now <= synapse_client.PATIENCE_SECONDS


class Refusing(Pool):
    """Batches are told, their logs are not."""

    def driver_log(self, *_: object) -> bytes:
        raise RefusedError("the log is no file", remedy="None.")


def test_a_batch_whose_log_is_refused_is_followed_all_the_same() -> None:
    found, _ = jobs()
    ended = SparkBatchJob(id=1, name="n", state="dead", app_id="a", log_lines=["last", "words"])
    found._client = Refusing(ended, SparkBatchJob(id=2, name="n", state="running", app_id="b"))  # type: ignore[assignment]
    assert found.log("2", 0) == ("", 0)
    assert found.log("1", 0) == ("last\nwords\n", 11)
    assert found.log("1", 11) == ("", 11)


class Written(Pool):
    """Logs grow."""

    def __init__(self, *batches: SparkBatchJob) -> None:
        super().__init__(*batches)
        self.files = {"stdout": b"", "stderr": b""}

    def driver_log(self, _batch: SparkBatchJob, stream: str, position: int, limit: int) -> bytes:
        return self.files[stream][position : position + limit]


def test_both_logs_are_told_once_in_whole_lines() -> None:
    batch = SparkBatchJob(id=1, name="n", state="running", app_id="a")
    found, _ = jobs()
    found._client = written = Written(batch)  # type: ignore[assignment]
    assert found.log("1", 0) == ("", 0)
    written.files = {"stdout": "a\nhö".encode(), "stderr": b"WARN x"}
    text, position = found.log("1", 0)
    assert text == "a\n"
    written.files = {"stdout": "a\nhö\n".encode(), "stderr": b"WARN x\nlast"}
    text, position = found.log("1", position)
    assert text == "hö\nWARN x\n"
    batch.state = "success"
    text, position = found.log("1", position)
    assert text == "last"
    assert found.log("1", position) == ("", position)


def test_after_no_answer_there_is_time_for_a_batch_to_be_listed() -> None:
    error = UnavailableError("no connection")
    error.__context__ = ServiceResponseError("broken pipe")
    assert [synapse_client.pause_seconds(error, failures) for failures in (1, 3, 5)] == [2.0, 2.0, 8.0]


@pytest.mark.parametrize(
    ("source", "code", "message", "passes"),
    [
        ("User", "Spark_User_TypeError", "no column", False),
        ("User", "Spark_Ambiguous_UserApp_JobFailed", "dead", True),
        ("User", "VCoresQuotaExceeded", VCORES, False),
        ("System", "AVAILABLE_COMPUTE_CAPACITY_EXCEEDED", "full", True),
        ("User", "", ROLE, False),
        ("System", "Spark_System_Executor_Lost", "lost", True),
        ("Unknown", "LIVY_JOB_STATE_DEAD", "dead", True),
    ],
)
def test_a_failure_says_whether_another_batch_may_do_better(
    source: str, code: str, message: str, *, passes: bool
) -> None:
    error = SparkServiceError(source=source, error_code=code, message=message)
    assert status_of(SparkBatchJob(id=1, state="dead", result="Failed", errors=[error])).retryable is passes


class Answers:
    """In place of the SDK: answers to submits in turn; what was accepted without an answer is listed late."""

    def __init__(self, *answers: int | None) -> None:
        self.answers, self.batches, self.cancelled = list(answers), [], []
        self.hidden: list[SparkBatchJob] = []
        self.spark_batch = self

    def create_spark_batch_job(self, options: SparkBatchJobOptions, **_: object) -> SparkBatchJob:
        batch = SparkBatchJob(id=len(self.batches) + len(self.hidden), name=options.name)
        if (status := self.answers.pop(0)) is None:
            self.batches += [*self.hidden, batch]  # what was accepted before is listed now
            return batch
        if status != 429:
            self.hidden.append(batch)
        raise HttpResponseError(response=Answer(status, "{}"))  # type: ignore[arg-type]

    def get_spark_batch_jobs(self, start: int, size: int, **_: object) -> Any:
        return SimpleNamespace(sessions=self.batches[start : start + size])

    def cancel_spark_batch_job(self, number: int) -> None:
        self.cancelled.append(number)


@pytest.mark.parametrize(
    ("answers", "waited", "kept", "cancelled"),
    [
        ((None,), 0.0, 0, []),
        ((429, None), 0.5, 0, []),
        ((500, None), 10.0, 0, [1]),
        ((504, 503, None), 20.0, 0, [1, 2]),
    ],
)
def test_what_was_accepted_without_an_answer_counts_and_what_came_after_is_cancelled(
    monkeypatch: pytest.MonkeyPatch, answers: tuple[int | None, ...], waited: float, kept: int, cancelled: list[int]
) -> None:
    clock, client = Clock(monkeypatch), synapse_client.PoolClient(connection(), "https://ws", "small", "pool")
    client.__dict__["_sdk"] = pool = Answers(*answers)
    batch = client.create(SparkBatchJobOptions(name="n", file="f"), set())
    assert (batch.id, pool.cancelled, clock.now) == (kept, cancelled, waited)


def test_batches_of_last_month_are_not_asked_for_where_the_youngest_come_first() -> None:
    now = datetime.now(UTC)
    batches = [
        SparkBatchJob(id=n, name="n", scheduler=SparkScheduler(submitted_at=now - timedelta(days=n))) for n in range(60)
    ]
    client, pool = synapse_client.PoolClient(connection(), "https://ws", "small", "pool"), Answers()
    client.__dict__["_sdk"] = pool
    pool.batches = batches
    assert len(list(client.named("n"))) == synapse_client.PAGE
    pool.batches = batches[::-1]
    assert len(list(client.named("n"))) == 60


class History:
    """In place of the history server's client."""

    def __init__(self, data: bytes, *, takes_ranges: bool) -> None:
        self.data, self.takes_ranges, self.sent = data, takes_ranges, 0

    def send_request(self, request: Any, **_: object) -> Any:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1]) if self.takes_ranges else 0
        status = 416 if start and start >= len(self.data) else 206 if start else 200
        blocks = [self.data[i : i + 4] for i in range(start, len(self.data), 4)]
        self.sent += sum(map(len, blocks))
        return contextlib.nullcontext(SimpleNamespace(status_code=status, iter_bytes=lambda: iter(blocks)))


@pytest.mark.parametrize(("takes_ranges", "sent"), [(True, 14), (False, 28)])
def test_a_log_is_read_on_from_where_it_was(*, takes_ranges: bool, sent: int) -> None:
    client = synapse_client.PoolClient(connection(), "https://ws", "small", "pool")
    client.__dict__["_plain"] = server = History(b"0123456789abcd", takes_ranges=takes_ranges)
    batch = SparkBatchJob(id=1, name="n", app_id="a")
    assert client.driver_log(batch, "stdout", 0, 100) == b"0123456789abcd"
    assert client.driver_log(batch, "stdout", 14, 100) == b""
    assert server.sent == sent


def test_a_log_that_cannot_be_read_now_is_empty_now(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    batch = SparkBatchJob(id=1, name="n", state="running", app_id="a")
    found, _ = jobs(batch)
    client = synapse_client.PoolClient(connection(), "https://ws", "small", "pool")
    found._client, found._seen = client, {"1": batch}

    def down(*_: object) -> bytes:
        raise HttpResponseError(response=Answer(503, "{}"))  # type: ignore[arg-type]

    monkeypatch.setattr(client, "_download", down)
    assert found.log("1", 7) == ("", 7)
    assert clock.now == 0


@pytest.mark.parametrize(
    ("cloud", "end"), [("", "net"), ("AzureChinaCloud", "azure.cn"), ("AzureUSGovernment", "usgovcloudapi.net")]
)
def test_each_cloud_has_its_own_addresses(cloud: str, end: str) -> None:
    given = connection(cloud_environment=cloud, tenantId="t")
    client = synapse_client.PoolClient(given, "https://ws", "small", "pool")
    assert client._sdk._config.credential_scopes == [f"https://dev.azuresynapse.{end}/.default"]
    found, _ = jobs(SparkBatchJob(id=7, name="x"), cloud_environment=cloud)
    assert found.link("7").startswith(f"https://web.azuresynapse.{end}/")
