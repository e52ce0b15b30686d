"""Spark batches on the twin's Synapse, which really runs them, and misbehaves when it is told to."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from azure.core.rest import HttpRequest

from noria.azure import LAKE, SYNAPSE
from noria.compute import synapse_client
from noria.compute.remote import JobStatus, JobUse
from noria.compute.synapse import SynapseJobs, SynapseSpark
from noria.compute.synapse_client import API_VERSION
from noria.errors import AccessError, JobError, NoriaError, QuotaError, RefusedError
from noria.lake import Lake, open_lake
from noria.settings import CHECKOUT
from tests.azure.twin.client import Twin

pytestmark = pytest.mark.slow
T = TypeVar("T")
EXPLORE = CHECKOUT / "spark_jobs" / "explore.py"
ROLE = {
    "error": {
        "code": "Unauthorized",
        "message": "The principal '94bc' does not have the required Synapse RBAC permission to perform this action.",
    }
}


@pytest.fixture
def jobs(twin: Twin) -> Iterator[SynapseJobs]:
    found = SynapseJobs(twin.connection(SYNAPSE))
    found._client.settling_seconds = 0.5
    yield found
    twin.reset()
    found._client._forget_tokens()
    for batch in found._client.named(NAME):
        found.cancel(str(batch.id))


@pytest.fixture
def lake(twin: Twin) -> Lake:
    return open_lake(twin.lake_url(), twin.connection(LAKE))


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    def write(code: str) -> Path:
        file = tmp_path / "job.py"
        file.write_text(code)
        return file

    return write


@pytest.fixture(autouse=True)
def _name() -> None:
    """Each test has batches of its own."""
    global NAME  # noqa: PLW0603
    NAME = uuid.uuid4().hex


NAME = ""


def wait(jobs: SynapseJobs, job_id: str, until: Callable[[JobStatus], bool] = lambda s: s.is_final) -> JobStatus:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = jobs.status(job_id)
        if until(status):
            return status
        time.sleep(0.1)
    raise AssertionError(f"batch {job_id} is still {status}")


def running(jobs: SynapseJobs, job_id: str) -> JobStatus:
    return wait(jobs, job_id, lambda status: status.state == "running")


def whole_log(jobs: SynapseJobs, job_id: str) -> str:
    parts, position = [], 0
    while True:
        text, position = jobs.log(job_id, position)
        if not text:
            return "".join(parts)
        parts.append(text)


def first_words(jobs: SynapseJobs, job_id: str) -> None:
    """Wait until the batch has written something."""
    deadline = time.monotonic() + 30
    while not whole_log(jobs, job_id):
        assert time.monotonic() < deadline, f"batch {job_id} wrote nothing"
        time.sleep(0.1)


def processes(twin: Twin, word: str) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(twin.process.pid).children(recursive=True):
        try:
            if word in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


OLDEST = """
import sys
from pathlib import Path

ages = Path(sys.argv[2]).read_text().split()
Path(sys.argv[4]).write_text(max(ages))
"""


def test_a_script_reads_the_lake_and_writes_to_it(
    twin: Twin, jobs: SynapseJobs, lake: Lake, script, caplog: pytest.LogCaptureFixture
) -> None:
    """test_retrain runs the exploration itself so, and compares its profile with that of a local run."""
    assert not twin.requests("synapse", "POST"), "asked first: on a subscription the script would need Spark to read"
    caplog.set_level("INFO")
    lake.create("data/ages.txt", b"18 20 19")
    arguments = ["--input", lake.url("data/ages.txt"), "--output", lake.url("out/oldest.txt")]
    file = script(OLDEST)
    tags = {"noria:pipeline": "students", "noria:run": "r1", "noria:stage": "explore"}
    job_id = jobs.submit(NAME, file, arguments, lake=lake, tags=tags)

    told: list[tuple[JobUse, bool]] = []
    spark = SynapseSpark(jobs, lake, NAME, tags, lambda use, succeeded: told.append((use, succeeded)))
    spark.submit(file, arguments)  # waits for the batch that runs

    assert [succeeded for _, succeeded in told] == [True]
    usage = told[0][0].usage
    assert (usage.machine, usage.vcpu_seconds) == ("synapse", pytest.approx(12 * usage.wall_seconds, abs=0.02))
    assert (
        0.1
        < usage.wall_seconds
        == pytest.approx((told[0][0].finished_at - told[0][0].started_at).total_seconds(), abs=0.001)
    )
    assert lake.read("out/oldest.txt") == b"20"
    batches = [(str(batch.id), batch.tags) for batch in jobs._client.named(NAME)]
    assert batches == [(job_id, tags)]
    assert f"livyId={job_id}" in caplog.text
    SynapseSpark(jobs, lake, NAME).submit(file, arguments)  # has succeeded
    assert len(twin.requests("synapse", "POST")) == 1
    assert not [secret for secret in twin.planted_secrets if secret in caplog.text]


def test_a_script_is_uploaded_once_for_each_content(twin: Twin, jobs: SynapseJobs, lake: Lake, script) -> None:
    twin.set("synapse", failure={"source": "System", "errorCode": "POOL", "message": "no"})

    def uploads() -> int:
        with pytest.raises(JobError, match="dead; System POOL: no"):
            SynapseSpark(jobs, lake, NAME).submit(script(code), [])
        return len(twin.requests("storage", "PUT", "/code/"))

    code = uuid.uuid4().hex
    first = uploads()
    assert first > 0
    assert uploads() == first
    code = uuid.uuid4().hex
    assert uploads() == 2 * first
    assert len(list(lake.list("code"))) == 2


def test_a_lost_answer_to_a_submit_leaves_one_batch(twin: Twin, jobs: SynapseJobs, lake: Lake, script) -> None:
    twin.set("synapse", endless=True)
    twin.fault("synapse", method="POST", times=1, lose_response=True)

    job_id = jobs.submit(NAME, script(""), [], lake=lake)

    assert [str(batch.id) for batch in jobs._client.named(NAME)] == [job_id]
    assert len(twin.requests("synapse", "POST")) == 1


@pytest.mark.parametrize(("status", "headers"), [(429, {"Retry-After": "1"}), (500, {}), (503, {})])
def test_a_submit_that_was_refused_for_the_moment_is_tried_again(
    twin: Twin, jobs: SynapseJobs, lake: Lake, script, status: int, headers: dict[str, str]
) -> None:
    twin.set("synapse", endless=True)
    twin.fault("synapse", method="POST", times=1, status=status, headers=headers)

    job_id = jobs.submit(NAME, script(""), [], lake=lake)

    assert [str(batch.id) for batch in jobs._client.named(NAME)] == [job_id]
    assert len(twin.requests("synapse", "POST")) == 2


def test_throttling_of_every_call_is_waited_out(twin: Twin, jobs: SynapseJobs, lake: Lake, script) -> None:
    twin.set("synapse", endless=True)
    twin.fault("synapse", seconds=2, status=429, headers={"Retry-After": "1"})

    job_id = jobs.submit(NAME, script(""), [], lake=lake)
    twin.fault("synapse", times=2, status=503)
    running(jobs, job_id)
    twin.fault("synapse", times=1, lose_response=True)
    jobs.cancel(job_id)

    assert wait(jobs, job_id).state == "cancelled"
    assert 1 <= len([request for request in twin.requests("synapse") if request.status == 429]) <= 3


def test_cancel_ends_the_processes_and_may_be_said_twice(twin: Twin, jobs: SynapseJobs, lake: Lake, script) -> None:
    twin.set("synapse", endless=True)
    job_id = jobs.submit(NAME, script(""), [], lake=lake)
    running(jobs, job_id)
    first_words(jobs, job_id)
    assert whole_log(jobs, job_id) == "working for ever\n"
    assert processes(twin, f"for ever {NAME}")

    jobs.cancel(job_id)
    jobs.cancel(job_id)
    jobs.cancel("999999")

    assert jobs.status(job_id) == JobStatus("cancelled", "killed")
    psutil.wait_procs(processes(twin, f"for ever {NAME}"), timeout=5)
    assert not processes(twin, f"for ever {NAME}")


def test_a_batch_that_others_ended_is_cancelled(twin: Twin, jobs: SynapseJobs, lake: Lake, script) -> None:
    twin.set("synapse", endless=True, killed=True)
    job_id = jobs.submit(NAME, script(""), [], lake=lake)
    assert wait(jobs, job_id).state == "cancelled"
    twin.set("synapse", endless=True, killed=False)
    assert jobs.submit(NAME, script(""), [], lake=lake) != job_id


def test_a_pool_that_starts_slowly_lets_wait(twin: Twin, jobs: SynapseJobs, lake: Lake, script) -> None:
    twin.set("synapse", start_seconds=600)
    job_id = jobs.submit(NAME, script(""), [], lake=lake)
    waiting = wait(jobs, job_id, lambda status: "starting" in status.detail)
    assert waiting == JobStatus("waiting", "starting (ResourceAcquisition)")
    assert jobs.log(job_id, 0) == ("", 0)
    jobs.cancel(job_id)
    assert jobs.status(job_id).state == "cancelled"
    assert jobs.log(job_id, 0) == ("", 0)
    assert jobs.use(job_id) is None  # it never had a vCore


def test_a_script_that_fails_says_why(twin: Twin, jobs: SynapseJobs, lake: Lake, script) -> None:
    code = (
        "import sys; open(sys.argv[1], 'w').write('left'); print('größe', file=sys.stderr); sys.exit('no column age')"
    )
    with pytest.raises(JobError, match="no column age") as caught:
        SynapseSpark(jobs, lake, NAME).submit(script(code), [lake.url("out/left.txt")])
    assert "User Spark_" in str(caught.value)
    assert "größe\nno column age" in str(caught.value)  # the driver's last lines
    assert lake.read("out/left.txt") == b"left"


@pytest.mark.parametrize(
    ("upset", "expected", "said"),
    [
        (lambda twin: twin.set("synapse", vcores=0), QuotaError, r"12 vcores.*0 core limit"),
        (
            lambda twin: twin.fault("synapse", status=401, body=json.dumps(ROLE)),
            AccessError,
            "Synapse Compute Operator",
        ),
        (lambda twin: twin.set("identity", tenant="another"), AccessError, "another tenant"),
    ],
)
def test_what_will_not_pass_says_what_to_do(
    twin: Twin,
    jobs: SynapseJobs,
    lake: Lake,
    script,
    upset: Callable[[Twin], None],
    expected: type[NoriaError],
    said: str,
) -> None:
    lake.create("code/here", b"")
    upset(twin)
    with pytest.raises(expected, match=said) as caught:
        jobs.submit(NAME, script(""), [], lake=lake)
    assert "Spark pool pool of Synapse workspace noria" in str(caught.value)
    assert not caught.value.retryable
    assert len(twin.requests("synapse", "POST")) <= 1


def test_a_pool_that_is_not_there_is_named(twin: Twin, lake: Lake, script) -> None:
    connection = twin.connection(SYNAPSE)
    elsewhere = SynapseJobs(type(connection)(SYNAPSE, connection.host, extra={**connection.extra, "sparkPool": "huge"}))
    with pytest.raises(RefusedError, match="Spark pool huge of Synapse workspace noria"):
        elsewhere.submit(NAME, script(""), [], lake=lake)


def test_a_token_that_is_refused_is_renewed_while_a_batch_is_followed(
    twin: Twin, jobs: SynapseJobs, lake: Lake, script
) -> None:
    """All by one object, as a trigger holds it: each call presents a token that was good a moment ago."""

    def refused_once(call: Callable[[], T]) -> T:
        jobs.cancel("999999")  # it has a token
        twin.set("identity", refuse_before=time.time())
        seen = len(twin.requests("synapse"))
        answer = call()
        assert [request.status for request in twin.requests("synapse")[seen:]].count(401) == 1
        return answer

    twin.set("synapse", endless=True)
    options = jobs._options(NAME, lake.url("job.py"), [], {}, {})
    job_id = str(refused_once(lambda: jobs._client.create(options, set())).id)
    running(jobs, job_id)
    assert refused_once(lambda: jobs.status(job_id)).state == "running"
    first_words(jobs, job_id)
    assert refused_once(lambda: jobs.log(job_id, 0)) == ("working for ever\n", 17)
    refused_once(lambda: jobs.cancel(job_id))
    assert jobs.status(job_id).state == "cancelled"
    assert len(list(jobs._client.named(NAME))) == 1


def test_a_token_that_was_refused_is_not_used_again(twin: Twin, jobs: SynapseJobs) -> None:
    twin.set("identity", tenant="another")
    with pytest.raises(AccessError):
        jobs.submit(NAME, EXPLORE, [], lake=open_lake("unused"))
    twin.reset()
    with pytest.raises(RefusedError, match="batch 999999"):
        jobs.status("999999")


def test_a_batch_is_found_behind_a_page_of_others(
    twin: Twin, jobs: SynapseJobs, lake: Lake, script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synapse_client, "PAGE", 2)
    twin.set("synapse", failure={"source": "User", "errorCode": "E", "message": "m"})
    file = script("")
    options = jobs._options(NAME, lake.url("job.py"), [], {}, {})
    ids = [str(jobs._client.create(options, set()).id) for _ in range(3)]
    wait(jobs, ids[-1])
    twin.set("synapse", endless=True, failure=None)
    job_id = jobs.submit(NAME, file, [], lake=lake)
    assert jobs.submit(NAME, file, [], lake=lake) == job_id


def test_sigterm_ends_the_batch(twin: Twin, jobs: SynapseJobs, lake: Lake, script) -> None:
    twin.set("synapse", endless=True)
    code = (
        "import sys; from pathlib import Path\n"
        "from noria.compute.synapse import SynapseJobs, SynapseSpark\n"
        "from noria.lake import open_lake; from noria.settings import Settings\n"
        "from noria.azure import AzureConnection\n"
        "settings = Settings.from_env()\n"
        "adls, synapse = (AzureConnection.parse(i, settings.connection_text(i)) for i in ('adls_default', "
        "'azure_synapse_default'))\n"
        "SynapseSpark(SynapseJobs(synapse), open_lake(sys.argv[1], adls), sys.argv[2]).submit(Path(sys.argv[3]), [])\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, lake.root, NAME, script("")], env={**os.environ}) as process:
        deadline = time.monotonic() + 30
        while not processes(twin, f"for ever {NAME}") and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
    states = [batch.state for batch in jobs._client.named(NAME)]
    assert states == ["killed"]


def test_the_link_names_the_batch(jobs: SynapseJobs, twin: Twin, lake: Lake, script) -> None:
    twin.set("synapse", endless=True)
    job_id = jobs.submit(NAME, script(""), [], lake=lake)
    assert re.search(rf"/sparkapplication/{NAME}\?.*workspaces%2Fnoria&livyId={job_id}&sparkPool", jobs.link(job_id))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": "n", "file": "abfss://a@b/c", "arguments": ["x"]}, "Could not find member 'arguments'"),
        ({"name": "n", "file": "abfss://a@b/c", "numExecutors": "2"}, "'numExecutors' is not of type int"),
        ({"name": "n", "file": "/local/job.py"}, "is not a file that the pool can read"),
        ({"file": "abfss://a@b/c"}, "'name' is required"),
    ],
)
def test_the_twin_takes_only_what_the_sdk_knows(jobs: SynapseJobs, body: dict[str, object], said: str) -> None:
    url = f"{jobs._client._endpoint}/livyApi/versions/{API_VERSION}/sparkPools/pool/batches"
    response = jobs._client._plain.send_request(HttpRequest("POST", url, json=body))
    assert (response.status_code, said in response.text()) == (400, True)
