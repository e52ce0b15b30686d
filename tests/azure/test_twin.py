"""The twin itself: who is let in, what is recorded, how it misbehaves, what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from tests.azure.twin.certificate import Certificate
from tests.azure.twin.client import Twin
from tests.azure.twin.fixtures import need_azurite
from tests.azure.twin.state import CHECKOUT, GUARD, HOSTS, TwinState

pytestmark = pytest.mark.slow
RESOURCES = {
    "storage": "https://storage.azure.com/",
    "vault": "https://vault.localhost:{port}",
    "synapse": "https://dev.azuresynapse.net/",
    "management": "https://management.azure.com/",
}
VERSION = {"x-ms-version": "2023-11-03"}
WELL_KNOWN = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key with which Azurite starts if it is not told another."""
BLOCK = {"x-ms-blob-type": "BlockBlob"}


def token(twin: Twin, service: str, **query: str) -> str:
    """One of the identity endpoint, for a service."""
    answer = requests.get(
        twin.environment["IDENTITY_ENDPOINT"],
        params={
            "api-version": "2019-08-01",
            "resource": RESOURCES[service].format(port=twin.url("vault").rpartition(":")[2]),
            **query,
        },
        headers={"X-IDENTITY-HEADER": twin.environment["IDENTITY_HEADER"]},
        timeout=10,
    )
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def bearer(twin: Twin, service: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(twin, service)}", **VERSION}


def blob(twin: Twin) -> str:
    """URL of a blob that nobody else uses."""
    return f"{twin.url('storage')}/lake/{uuid.uuid4().hex}"


def test_token_for_another_service_another_tenant_or_yesterday_opens_nothing(twin: Twin) -> None:
    twin.set("identity", lifetime_seconds=-1)
    late = {service: token(twin, service) for service in RESOURCES}
    twin.set("identity", lifetime_seconds=3600, tenant="00000000-0000-0000-0000-000000000000")
    foreign = {service: token(twin, service) for service in RESOURCES}
    twin.reset()
    for service in HOSTS:
        other = "vault" if service == "storage" else "storage"
        refused = {
            "": "no bearer token",
            "Basic abc": "no bearer token",
            "Bearer abc": "not one of this tenant's",
            f"Bearer {late[service]}": "has expired",
            f"Bearer {foreign[service]}": "wrong issuer",
            f"Bearer {token(twin, other)}": "the access token is for",
        }
        for authorization, why in refused.items():
            answer = requests.get(f"{twin.url(service)}/any", headers={"Authorization": authorization}, timeout=10)
            assert (answer.status_code, why in answer.text) == (401, True), (service, authorization, answer.text)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer authorization=")
        assert requests.get(f"{twin.url(service)}/any", headers=bearer(twin, service), timeout=10).status_code != 401


def test_identity_answers_only_who_knows_its_header(twin: Twin) -> None:
    query = {"api-version": "2019-08-01", "resource": RESOURCES["storage"]}
    endpoint = twin.environment["IDENTITY_ENDPOINT"]
    assert requests.get(endpoint, params=query, timeout=10).status_code == 403
    header = {"X-IDENTITY-HEADER": twin.environment["IDENTITY_HEADER"]}
    assert requests.get(endpoint, params={"resource": "x"}, headers=header, timeout=10).status_code == 400
    handed_out = token(twin, "storage", client_id="somebody")
    assert handed_out in twin.planted_secrets


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"X-Twin-Token": None}, 403),
        ({"X-Twin-Token": "0" * 32}, 403),
        ({"X-Twin-Token": "\u00e9"}, 403),
        ({"Host": "rebound.example.org"}, 421),
        ({"Host": "localhost:{port}"}, 421),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": None}, 415),
    ],
)
def test_control_obeys_only_who_started_the_twin(twin: Twin, headers: dict[str, str | None], status: int) -> None:
    control = twin.environment["IDENTITY_ENDPOINT"].removesuffix("/msi/token")
    port = control.rpartition(":")[2]
    asked = {"X-Twin-Token": twin.token, "Content-Type": "application/json"} | {
        name: value and value.format(port=port).encode("latin-1") for name, value in headers.items()
    }
    knob = {"service": "identity", "knobs": {"lifetime_seconds": -1}}
    answer = requests.post(f"{control}/_twin/knobs", json.dumps(knob), headers=asked, timeout=10)
    assert answer.status_code == status
    has_expired = requests.get(f"{twin.url('vault')}/any", headers=bearer(twin, "vault"), timeout=10).status_code == 401
    assert has_expired == (status == 200)
    if status != 415:
        answer = requests.get(f"{control}/_twin/planted", headers=asked, timeout=10)
        assert (answer.status_code, twin.token in answer.text) == (status, status == 200)
    if status == 421:
        identity = {"X-IDENTITY-HEADER": twin.environment["IDENTITY_HEADER"]} | asked
        answer = requests.get(twin.environment["IDENTITY_ENDPOINT"], headers=identity, timeout=10)
        assert answer.status_code == 421


def test_unknown_host_says_which_there_are(twin: Twin) -> None:
    dfs = twin.url("storage").replace(".blob.", ".dfs.")
    answer = requests.get(dfs, timeout=10)
    assert answer.status_code == 501
    assert HOSTS["storage"] in answer.text


def test_storage_keeps_what_it_is_given_and_everything_is_recorded(twin: Twin) -> None:
    url, login = blob(twin), bearer(twin, "storage")
    assert requests.put(url, b"abc", headers=login | BLOCK, timeout=10).status_code == 201
    refused = requests.put(url, b"abc", headers=login | BLOCK | {"If-None-Match": "*"}, timeout=10)
    assert refused.status_code == 409
    read = requests.get(url, headers=login, timeout=10)
    assert (read.content, read.headers["x-ms-blob-type"]) == (b"abc", "BlockBlob")
    seen = twin.requests("storage", path=url.rpartition("/")[2])
    assert [(r.method, r.status, r.bytes_in, r.fault) for r in seen] == [
        ("PUT", 201, 3, False),
        ("PUT", 409, 3, False),
        ("GET", 200, 0, False),
    ]
    assert seen[2].bytes_out == 3
    twin.reset()
    assert twin.requests() == []


def test_signature_of_a_sas_and_the_account_key_open_storage_and_are_not_recorded(twin: Twin) -> None:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.storage.blob import BlobSasPermissions, BlobServiceClient, generate_blob_sas

    client = BlobServiceClient.from_connection_string(twin.connection_string).get_blob_client("lake", uuid.uuid4().hex)
    client.upload_blob(b"abc")
    sas = generate_blob_sas(
        client.account_name,
        "lake",
        client.blob_name,
        account_key=client.credential.account_key,
        permission=BlobSasPermissions(read=True),
        expiry=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600)),
    )
    assert requests.get(f"{client.url}?{sas}", timeout=10).content == b"abc"
    assert requests.get(f"{client.url}?{sas[:-9]}AAAAAA%3D", timeout=10).status_code == 403
    recorded = twin.requests("storage", "GET", client.blob_name)
    signature = re.search(r"sig=([^&]+)", sas)
    assert signature
    assert len(recorded) == 2
    assert all("sig=***" in r.query and signature.group(1) not in r.query for r in recorded)
    assert client.credential.account_key in twin.planted_secrets
    assert client.credential.account_key not in str(twin.environment)
    known = twin.connection_string.replace(client.credential.account_key, WELL_KNOWN)
    with pytest.raises(ClientAuthenticationError):
        next(iter(BlobServiceClient.from_connection_string(known, retry_total=0).list_containers()), None)


def test_large_blob_passes_through_in_bounded_memory(twin: Twin) -> None:
    url, login, block = blob(twin), bearer(twin, "storage"), os.urandom(2**20)
    server = psutil.Process(twin.process.pid)
    seen_rss = [server.memory_info().rss]

    class Blocks:
        def __len__(self) -> int:
            return 128 * len(block)

        def __iter__(self) -> Iterator[bytes]:
            for _ in range(128):
                seen_rss.append(server.memory_info().rss)
                yield block

    assert requests.put(url, Blocks(), headers=login | BLOCK, timeout=60).status_code == 201
    with requests.get(url, headers=login, stream=True, timeout=60) as answer:
        received = 0
        for part in answer.iter_content(2**20):
            received += len(part)
            seen_rss.append(server.memory_info().rss)
    assert received == len(Blocks())
    assert max(seen_rss) - seen_rss[0] < 48 * 2**20
    of_blob = [r for r in twin.requests("storage") if r.path == urllib.parse.urlsplit(url).path]
    assert [r.bytes_in or r.bytes_out for r in of_blob] == [received] * 2


def test_fault_takes_those_requests_that_it_names_and_no_others(twin: Twin) -> None:
    url, login = f"{twin.url('vault')}/secrets", bearer(twin, "vault")

    def ask(path: str = "") -> int:
        return requests.get(url + path, headers=login, timeout=10).status_code

    throttled = {"status": 429, "headers": {"Retry-After": "7"}, "body": '{"error": {}}'}
    twin.fault("vault", path="/secrets/x", times=2, after=1, **throttled)
    assert [ask("/x"), ask(), ask("/x")] == [404, 200, 429]
    answer = requests.get(f"{url}/x", headers=login, timeout=10)
    assert (answer.status_code, answer.headers["Retry-After"], answer.json()) == (429, "7", {"error": {}})
    assert ask("/x") == 404
    assert [r.fault for r in twin.requests("vault")] == [False, False, True, True, False]
    twin.fault("*", method="PUT", status=503)
    assert ask() == 200
    assert requests.put(blob(twin), b"x" * 10**6, headers=bearer(twin, "storage"), timeout=10).status_code == 503
    twin.reset()
    twin.fault("vault", status=500, seconds=0.5)
    assert ask() == 500
    time.sleep(0.6)
    assert ask() == 200
    twin.fault("vault", delay_seconds=0.4, times=1)
    begun = time.monotonic()
    assert ask() == 200
    assert time.monotonic() - begun > 0.4
    twin.fault("vault", status=500)
    twin.reset()
    assert ask() == 200


def test_lost_response_means_that_the_work_was_done(twin: Twin) -> None:
    url, login = blob(twin), bearer(twin, "storage")
    twin.fault("storage", method="PUT", lose_response=True, times=1)
    with pytest.raises(requests.ConnectionError):
        requests.put(url, b"abc", headers=login | BLOCK, timeout=10)
    assert requests.get(url, headers=login, timeout=10).content == b"abc"
    assert [r.status for r in twin.requests("storage")] == [None, 200]


def test_upload_that_breaks_off_leaves_nothing_and_the_twin_well(twin: Twin) -> None:
    url, login = blob(twin), bearer(twin, "storage")

    class Broken:
        def __len__(self) -> int:
            return 2**22

        def __iter__(self) -> Iterator[bytes]:
            yield b"x" * 2**20
            raise InterruptedError

    with pytest.raises((InterruptedError, requests.ConnectionError)):
        requests.put(url, Broken(), headers=login | BLOCK, timeout=10)
    assert requests.get(url, headers=login, timeout=10).status_code == 404


def test_secret_of_a_test_is_planted_and_gone_with_it(twin: Twin) -> None:
    secret = uuid.uuid4().hex
    twin.secret("of-a-test", secret)
    url, login = f"{twin.url('vault')}/secrets", bearer(twin, "vault")
    assert requests.get(f"{url}/of-a-test", headers=login, timeout=10).json()["value"] == secret
    names = [s["id"].split("/")[-2] for s in requests.get(url, headers=login, timeout=10).json()["value"]]
    assert {"of-a-test", "airflow-connections-adls-default"} <= set(names)
    assert secret in twin.planted_secrets
    twin.reset()
    assert requests.get(f"{url}/of-a-test", headers=login, timeout=10).status_code == 404
    assert secret in twin.planted_secrets


@pytest.mark.parametrize(
    ("attempt", "what"),
    [
        ("import socket; socket.getaddrinfo('example.org', 443)", "example.org"),
        ("import socket; socket.gethostbyname('example.org')", "example.org"),
        ("import socket; socket.create_connection(('192.0.2.1', 80))", "192.0.2.1"),
        ("import socket; socket.socket().connect(('192.0.2.1', 80))", "192.0.2.1:80"),
        ("import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 53))", "192.0.2.1:53"),
        ("import urllib.request; urllib.request.urlopen('https://example.org')", "example.org"),
        (
            "import aiohttp, asyncio\n"
            "async def get():\n"
            "    async with aiohttp.ClientSession() as session:\n"
            "        await session.get('https://example.org')\n"
            "asyncio.run(get())",
            "example.org",
        ),
    ],
)
def test_process_that_wants_to_leave_loopback_fails_with_the_name(twin: Twin, attempt: str, what: str) -> None:
    said = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 1
    assert f"keeps this process on loopback, and it wanted to reach {what}" in said.stderr
    refused = twin.refused()
    assert [line.partition("\t")[0] for line in refused] == [what]


def test_guard_lets_this_machine_be(twin: Twin) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.connect(("192.0.2.1", 80))  # sends nothing; dask asks for its own address like this
    with contextlib.suppress(socket.gaierror):
        socket.getaddrinfo(socket.gethostname(), None)
    assert socket.getaddrinfo("any.thing.localhost", 1, type=socket.SOCK_STREAM)[0][4] == ("127.0.0.1", 1)
    assert twin.refused() == []


def test_guard_hides_no_other_sitecustomize(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.other = 'ran'")
    environment = {**os.environ, "PYTHONPATH": f"{GUARD}:{tmp_path}", "NORIA_TWIN_GUARD": str(tmp_path / "log")}
    script = "import sys, socket; print(sys.other, socket.getaddrinfo.__module__)"
    command = [sys.executable, "-c", script]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.split() == ["ran", "sitecustomize"]


def test_fixture_fails_the_test_that_left_loopback(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import contextlib, socket\n"
        "from aiohttp import connector\n"
        "OWN = connector._SSL_CONTEXT_VERIFIED\n"
        "def test_leaves(twin):\n"
        "    with contextlib.suppress(OSError):\n"
        "        socket.getaddrinfo('example.org', 443)\n"
        "def test_stays(twin):\n"
        "    socket.getaddrinfo('localhost', 443)\n"
        "    assert connector._SSL_CONTEXT_VERIFIED is not OWN\n"
        "def test_trusts_the_twin_no_longer():\n"
        "    assert connector._SSL_CONTEXT_VERIFIED is OWN\n"
    )
    options = ["-p", "tests.azure.twin.fixtures", "-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={tmp_path}"]
    command = [sys.executable, "-m", "pytest", "-q", *options, tmp_path]
    said = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)
    assert "3 passed, 1 error" in said.stdout, said.stdout
    assert re.search(r"left loopback:\s+E\s+example.org", said.stdout), said.stdout


# The command line: each of these starts twins of its own.

STARTED_SECONDS = 60
COMMAND = """
import json, os, psutil, signal, sys, time
pids = [p.pid for p in psutil.Process(os.getppid()).children(recursive=True)]
signal.signal(15, lambda *_: sys.exit(7))
print(json.dumps([os.environ["NORIA_PROFILE"], "AIRFLOW_CONN_ADLS_DEFAULT" in os.environ, pids]), flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def start(folder: Path, *command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m tests.azure.twin`, as a person starts it; nothing of it is left after the context."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.azure.twin", "--folder", folder, *command],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    """End it with all that it has started, whatever state it is in."""
    with contextlib.suppress(psutil.NoSuchProcess):
        tree = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for left in psutil.wait_procs(tree, timeout=15)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()


def gone(processes: list[psutil.Process], seconds: float = 15) -> bool:
    """Whether all of them end in that time."""
    return not psutil.wait_procs(processes, timeout=seconds)[1]


def first_line(process: subprocess.Popen[str]) -> str:
    """What it says once it is up."""
    assert process.stdout
    watch = threading.Timer(STARTED_SECONDS, process.kill)
    watch.start()
    try:
        line = process.stdout.readline()
    finally:
        watch.cancel()
    assert line, process.communicate()
    return line


def told_file(process: subprocess.Popen[str]) -> Path:
    """The file to source that a twin prints once it is up."""
    file = re.search(r"\. (\S+environment\.sh)", first_line(process))
    assert file
    return Path(file.group(1))


@pytest.fixture
def checked() -> None:
    """Skips where there is no Azurite."""
    need_azurite()


@pytest.mark.usefixtures("checked")
def test_command_runs_on_the_twin_has_its_signals_and_nothing_is_left(tmp_path: Path) -> None:
    with start(tmp_path, "--key-vault", "--", sys.executable, "-c", COMMAND) as process:
        profile, has_connections, pids = json.loads(first_line(process))
        assert (profile, has_connections) == ("azure", False)
        assert len(pids) >= 4  # the twin, Azurite, two wardens and the command itself
        process.terminate()
        assert process.wait(30) == 7
        assert not [pid for pid in pids if psutil.pid_exists(pid)]


@pytest.mark.usefixtures("checked")
def test_twin_that_stays_can_be_sourced_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        file = told_file(process)
        assert file.stat().st_mode & 0o077 == 0
        lake = sourced_lake(file)
        with start(tmp_path, "--", "true") as second:
            assert "another twin is running" in second.communicate(timeout=60)[1]
            assert second.returncode == 1
        tree = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(30) == 0
        assert gone(tree)
        assert not file.exists()
    with start(tmp_path) as again:
        assert sourced_lake(told_file(again)) == lake
        tree = psutil.Process(again.pid).children(recursive=True)
        assert any("azurite" in " ".join(p.cmdline()) for p in tree)
        again.kill()
        assert gone(tree), "it ends with whoever started it"


def sourced_lake(file: Path) -> str:
    """NORIA_LAKE_URL of a shell that has sourced the file."""
    command = ["sh", "-c", f". {file}; echo $NORIA_LAKE_URL"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    assert said.startswith("abfss://lake@")
    return said


@pytest.mark.usefixtures("checked")
def test_children_of_a_killed_twin_end(tmp_path: Path) -> None:
    with Twin.start(tmp_path) as twin:
        tree = psutil.Process(twin.process.pid).children(recursive=True)
        twin.process.kill()
        assert gone(tree)


def test_jobs_and_batches_of_an_earlier_start_are_in_nobodys_way(tmp_path: Path) -> None:
    from tests.azure.twin.livy import Pool
    from tests.azure.twin.ml.jobs import Jobs
    from tests.azure.twin.ml.state import Plane

    (tmp_path / "synapse" / "7").mkdir(parents=True)
    state = TwinState(tmp_path, 1, 2, Certificate(tmp_path, tmp_path, tmp_path))
    assert next(Pool(state)._ids) == 8
    plane = Plane(state)
    plane.store.put("noria", "jobs", "train", {})
    plane.store.put("noria", "models", "students", {}, "1")
    Jobs(plane)
    assert plane.store.get("noria", "jobs", "train") is None
    assert plane.store.get("noria", "models", "students", "1")


def test_without_node_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with start(tmp_path, "--", "true", PATH=str(tmp_path)) as process:
        _out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "there is no `node` on PATH. Install Node.js" in err
    assert "Traceback" not in err
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"Install Node\.js"):
        need_azurite()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match=r"Install Node\.js"):
        need_azurite()
