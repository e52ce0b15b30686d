"""What the lake on ADLS Gen2 survives, and what it says where it cannot."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobLeaseClient, BlobServiceClient, ContainerClient

from noria.errors import StorageAccessError, StorageError, StorageUnavailableError
from noria.lake import Lake, open_lake
from noria.lake.abfs import client, lease
from tests.azure.twin.client import Twin

pytestmark = pytest.mark.slow

MIB = 2**20
BUSY = {"x-ms-error-code": "ServerBusy"}
BLOCK, BLOCK_LIST, DOCUMENT = r"comp=block&", r"comp=blocklist", r"\.json\?$"


@pytest.fixture
def lake(twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """A lake of this test's own, with a client of its own and small blocks."""
    monkeypatch.setattr(client, "BLOCK_BYTES", MIB)
    client.shared.cache_clear()
    yield open_lake(twin.lake_url(), twin.connection("adls_default"), tmp_path / "tmp")
    client.shared.cache_clear()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Five blocks."""
    path = tmp_path / "local.bin"
    path.write_bytes(os.urandom(4 * MIB + 1))
    return path


@pytest.fixture
def container(twin: Twin) -> ContainerClient:
    """The lake's container as somebody else sees it."""
    return BlobServiceClient.from_connection_string(twin.connection_string).get_container_client("lake")


def blob_name(lake: Lake, path: str) -> str:
    return lake.url(path).split("/", 3)[3]


def read_whole(lake: Lake, path: str) -> bytes:
    with lake.local(path) as local:
        return local.read_bytes()


class TestItPasses:
    """Faults that go by."""

    def test_503_in_the_middle_of_an_upload(self, lake: Lake, twin: Twin, file: Path) -> None:
        twin.fault("storage", method="PUT", path=BLOCK, after=2, times=4, status=503, headers=BUSY)
        lake.put(file, "data.bin")
        sent = twin.requests("storage", "PUT", BLOCK)
        assert len([seen for seen in sent if seen.status == 201]) == 5  # no block twice
        assert any(seen.status == 503 for seen in sent)
        assert read_whole(lake, "data.bin") == file.read_bytes()

    def test_503_in_the_middle_of_a_download(self, lake: Lake, twin: Twin, file: Path) -> None:
        lake.put(file, "data.bin")
        twin.fault("storage", method="GET", after=2, times=3, status=503, headers=BUSY)
        assert read_whole(lake, "data.bin") == file.read_bytes()
        assert any(seen.status == 503 for seen in twin.requests("storage", "GET"))

    def test_throttled_with_retry_after(self, lake: Lake, twin: Twin) -> None:
        twin.fault("storage", method="PUT", times=1, status=429, headers={"Retry-After": "1", **BUSY})
        begun = time.monotonic()
        lake.replace("a.json", b"1")
        assert time.monotonic() - begun >= 1
        assert [seen.status for seen in twin.requests("storage", "PUT")] == [429, 201]

    def test_throttled_on_every_call(self, lake: Lake, twin: Twin, file: Path) -> None:
        twin.fault("storage", times=3, status=429, headers=BUSY)
        begun = time.monotonic()
        assert lake.create("a.json", b"1")
        assert time.monotonic() - begun > 0.75 * (0.5 + 1)  # it waits longer and longer
        for method in ("PUT", "GET"):
            twin.fault("storage", method=method, times=2, status=429, headers=BUSY)
        lake.put(file, "data.bin")
        assert read_whole(lake, "data.bin") == file.read_bytes()
        assert len([seen for seen in twin.requests("storage") if seen.fault]) == 7
        assert client.RETRY_SECONDS >= 60

    def test_no_answer_in_time(self, lake: Lake, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client, "READ_SECONDS", 1.0)
        for method in ("PUT", "GET"):
            twin.fault("storage", method=method, path=DOCUMENT, times=1, delay_seconds=2.5)
        lake.replace("a.json", b"1")
        assert lake.read("a.json") == b"1"

    def test_the_answer_to_a_create_is_lost(self, lake: Lake, twin: Twin) -> None:
        twin.fault("storage", method="PUT", times=1, lose_response=True)
        assert lake.create("a.json", b"1")
        assert [seen.status for seen in twin.requests("storage", "PUT")] == [None, 409]
        assert lake.read("a.json") == b"1"

    def test_the_answer_to_a_create_that_came_too_late_is_lost(self, lake: Lake, twin: Twin) -> None:
        lake.create("a.json", b"1")
        twin.fault("storage", method="PUT", times=1, lose_response=True)
        assert not lake.create("a.json", b"1")  # of the same bytes, but by another

    @pytest.mark.parametrize("what", [BLOCK, BLOCK_LIST])
    def test_the_answer_to_a_part_of_a_put_is_lost(self, lake: Lake, twin: Twin, file: Path, what: str) -> None:
        twin.fault("storage", method="PUT", path=what, times=1, lose_response=True)
        lake.put(file, "data.bin")
        assert read_whole(lake, "data.bin") == file.read_bytes()

    def test_another_writer_took_the_blocks_away(self, lake: Lake, twin: Twin, file: Path) -> None:
        gone = {"x-ms-error-code": "InvalidBlockList"}
        twin.fault("storage", method="PUT", path=BLOCK_LIST, times=1, status=400, headers=gone)
        lake.put(file, "data.bin")
        assert read_whole(lake, "data.bin") == file.read_bytes()

    def test_another_writer_replaced_what_is_read(self, lake: Lake, twin: Twin, file: Path) -> None:
        lake.put(file, "data.bin")
        changed = {"x-ms-error-code": "ConditionNotMet"}
        twin.fault("storage", method="GET", after=3, times=1, status=412, headers=changed)
        assert read_whole(lake, "data.bin") == file.read_bytes()

    def test_tokens_that_expire_in_the_middle_of_an_upload(
        self, lake: Lake, twin: Twin, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "BLOCK_BYTES", MIB // 4)  # 17 blocks, 4 at once
        twin.set("identity", lifetime_seconds=3)
        twin.fault("storage", method="PUT", path=BLOCK, delay_seconds=0.7)
        begun = time.monotonic()
        lake.put(file, "data.bin")
        assert time.monotonic() - begun > 3
        assert read_whole(lake, "data.bin") == file.read_bytes()

    def test_the_storage_takes_a_token_for_expired(self, lake: Lake, twin: Twin, file: Path) -> None:
        challenge = (
            f"Bearer authorization_uri={twin.environment['NORIA_LAKE_URL']} resource_id=https://storage.azure.com"
        )
        expired = {"x-ms-error-code": "InvalidAuthenticationInfo", "WWW-Authenticate": challenge}
        twin.fault("storage", method="PUT", path=BLOCK, after=2, times=1, status=401, headers=expired)
        lake.put(file, "data.bin")
        assert read_whole(lake, "data.bin") == file.read_bytes()


OPERATIONS: dict[str, Callable[[Lake, Path], Any]] = {
    "look for": lambda lake, file: lake.exists("x.json"),
    "read": lambda lake, file: lake.read("x.json"),
    "create": lambda lake, file: lake.create("x.json", b"1"),
    "write": lambda lake, file: lake.replace("x.json", b"1"),
    "put": lambda lake, file: lake.put(file, "x.json"),
    "local": lambda lake, file: read_whole(lake, "x.json"),
    "list": lambda lake, file: list(lake.list("")),
    "remove": lambda lake, file: lake.remove("x"),
    "lock": lambda lake, file: lake.lock("x").__enter__(),
}


FEW = ("read", "put", "lock")
"""By adlfs, in several requests, and without adlfs: for refusals that reach each operation in the same way."""


@pytest.fixture(params=OPERATIONS)
def refused(request: pytest.FixtureRequest, twin: Twin, file: Path) -> Callable[..., str]:
    """What an operation says when it is refused; it is of the given kind, and tells no secret."""

    def act(lake: Lake, kind: type[StorageError]) -> str:
        with pytest.raises(kind) as caught:
            OPERATIONS[request.param](lake, file)
        told = "".join(traceback.format_exception(caught.value))
        assert not [secret for secret in twin.planted_secrets if secret in told]
        assert "container" in str(caught.value) and "devstoreaccount1" in str(caught.value)
        return str(caught.value)

    return act


class TestItIsRefused:
    """Faults that stay: the error names the place and the remedy."""

    def test_a_deleted_container(self, twin: Twin, tmp_path: Path, refused: Callable[..., str]) -> None:
        url = twin.lake_url("x").replace("//lake@", "//deleted@")
        said = refused(open_lake(url, twin.connection("adls_default"), tmp_path / "tmp"), StorageError)
        assert "container deleted of storage account devstoreaccount1" in said
        assert "ContainerNotFound" in said and "Create it" in said

    @pytest.mark.parametrize("refused", FEW, indirect=True)
    def test_a_missing_role(self, lake: Lake, twin: Twin, refused: Callable[..., str]) -> None:
        twin.fault("storage", status=403, headers={"x-ms-error-code": "AuthorizationPermissionMismatch"})
        said = refused(lake, StorageAccessError)
        assert "may not" in said and "role Storage Blob Data Contributor on the container" in said

    @pytest.mark.parametrize("refused", FEW, indirect=True)
    def test_a_wrong_tenant(self, lake: Lake, twin: Twin, refused: Callable[..., str]) -> None:
        twin.set("identity", tenant="00000000-0000-0000-0000-000000000000")
        assert "tenant" in refused(lake, StorageAccessError)

    @pytest.mark.parametrize("refused", FEW, indirect=True)
    def test_busy_for_too_long(
        self, lake: Lake, twin: Twin, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
    ) -> None:
        monkeypatch.setattr(client, "RETRY_SECONDS", 0.2)
        twin.fault("storage", status=503, headers=BUSY)
        assert "503 ServerBusy" in refused(lake, StorageUnavailableError)

    def test_an_account_that_does_not_exist(self, twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
            if host == "nosuch.blob.core.windows.net":
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return real(host, *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(client, "RETRY_SECONDS", 0.2)
        lake = open_lake("abfss://lake@nosuch.dfs.core.windows.net", tmp=tmp_path)
        with pytest.raises(StorageError, match=r"storage account nosuch .*no such host.*Mend the name"):
            lake.read("x.json")

    def test_nothing_is_seen_of_an_upload_that_failed(
        self, lake: Lake, twin: Twin, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "RETRY_SECONDS", 0.5)
        twin.fault("storage", method="PUT", path=BLOCK, after=3, status=503, headers=BUSY)
        with pytest.raises(StorageUnavailableError):
            lake.put(file, "data.bin")
        assert not lake.exists("data.bin") and list(lake.list("")) == []


def test_requests_that_went_well_are_not_logged(lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lake.replace("a.json", b"1")
    with lake.lock("x"):
        assert lake.read("a.json") == b"1"
    assert not caplog.records


class TestLock:
    """Leases as locks."""

    def test_it_is_renewed_while_it_is_held(self, lake: Lake, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lease, "RENEW_SECONDS", 0.1)
        with lake.lock("x"):
            deadline = time.monotonic() + 30
            while len(twin.requests("storage", "PUT", "comp=lease")) < 5 and time.monotonic() < deadline:
                time.sleep(0.05)
        assert time.monotonic() < deadline
        assert lease.RENEW_SECONDS < lease.LEASE_SECONDS / 2

    def test_the_answer_to_the_acquisition_is_lost(self, lake: Lake, twin: Twin) -> None:
        with lake.lock("x"):
            pass
        twin.fault("storage", method="PUT", path="comp=lease", times=1, lose_response=True)
        with lake.lock("x", wait_seconds=20):
            pass

    def test_a_lock_that_went_to_somebody_else_is_noticed(self, lake: Lake, container: ContainerClient) -> None:
        with pytest.raises(StorageUnavailableError, match="went to somebody else while it was held"), lake.lock("x"):
            BlobLeaseClient(container.get_blob_client(blob_name(lake, ".locks/x.lock"))).break_lease(0)
            with lake.lock("x", wait_seconds=20):
                pass

    def test_an_error_under_a_lost_lock_is_not_hidden(self, lake: Lake, container: ContainerClient) -> None:
        with pytest.raises(ZeroDivisionError), lake.lock("x"):
            BlobLeaseClient(container.get_blob_client(blob_name(lake, ".locks/x.lock"))).break_lease(0)
            _ = 1 / 0

    def test_throttling_does_not_take_the_lock_away(
        self, lake: Lake, twin: Twin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lease, "RENEW_SECONDS", 0.1)
        with lake.lock("x"):
            twin.fault("storage", path="comp=lease", seconds=1, status=503, headers=BUSY)
            time.sleep(1)

    def test_a_lost_answer_to_a_renewal_does_not_take_the_lock_away(
        self, lake: Lake, twin: Twin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert lease.RENEW_SECONDS + 2 * lease.RENEWAL_SECONDS + 1 < lease.LEASE_SECONDS
        assert lease.ANSWER_SECONDS < lease.RENEWAL_SECONDS
        monkeypatch.setattr(lease, "RENEW_SECONDS", 0.1)
        monkeypatch.setattr(lease, "ANSWER_SECONDS", 0.5)
        with lake.lock("x") as still_held:
            twin.fault("storage", method="PUT", path="comp=lease", times=1, hold_seconds=30)
            time.sleep(1.5)
            assert len(twin.requests("storage", "PUT", "comp=lease")) > 3
            still_held()
        assert not caplog.records

    def test_a_holder_that_is_cut_off_knows_before_the_lease_is_over(
        self, lake: Lake, twin: Twin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(lease, "RENEW_SECONDS", 0.1)
        monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.5)
        monkeypatch.setattr(lease, "_MARGIN_SECONDS", lease.LEASE_SECONDS - 1.0)
        with lake.lock("x") as still_held:
            twin.fault("storage", path="comp=lease", status=503, headers={"Retry-After": "30", **BUSY})
            time.sleep(2)
            assert [record for record in caplog.records if "may be somebody else's" in record.getMessage()]
            with pytest.raises(StorageUnavailableError, match="cannot lock"):
                still_held()
            twin.reset()

    def test_who_asks_is_told_that_it_went_to_somebody_else(self, lake: Lake, container: ContainerClient) -> None:
        with contextlib.suppress(StorageUnavailableError), lake.lock("x") as still_held:
            BlobLeaseClient(container.get_blob_client(blob_name(lake, ".locks/x.lock"))).break_lease(0)
            with lake.lock("x", wait_seconds=20):
                pass
            with pytest.raises(StorageUnavailableError, match="went to somebody else while it was held"):
                still_held()


class TestHierarchicalNamespace:
    """Folders there are blobs of no bytes with the metadata hdi_isfolder."""

    @pytest.fixture
    def lake(self, lake: Lake, container: ContainerClient) -> Lake:
        lake.replace("a/b/x.json", b"1")
        for folder in ("a", "a/b", "a/empty"):
            container.upload_blob(blob_name(lake, folder), b"", metadata={"hdi_isfolder": "true"})
        return lake

    def test_a_folder_is_no_file(self, lake: Lake) -> None:
        assert list(lake.list("")) == list(lake.list("a")) == ["a/b/x.json"]
        assert not lake.exists("a") and not lake.exists("a/empty")
        for access in (lake.read, lambda path: read_whole(lake, path)):
            with pytest.raises(FileNotFoundError):
                access("a/empty")

    def test_folders_go_after_what_is_in_them(self, lake: Lake, twin: Twin) -> None:
        lake.remove("a")
        gone = [seen.path.split("/", 3)[-1] for seen in twin.requests("storage", "DELETE")]
        assert gone == ["a/b/x.json", "a/empty", "a/b", "a"]
        assert list(lake.list("")) == []


TRANSFER = """
import sys
from pathlib import Path
from noria.lake.abfs import client
from noria.settings import Settings
from noria.workspace import Workspace


def peak_mib():
    # What getrusage says would be the parent's, from before exec.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024


file = Path(sys.argv[1])
client.BLOCK_BYTES = 2 * 2**20
lake = Workspace.open(Settings.from_env()).lake
lake.replace("first.json", b"1")  # all is imported and connected
before = peak_mib()
lake.put(file, "data.bin")
after_put = peak_mib()
with lake.local("data.bin") as local:
    assert local.stat().st_size == file.stat().st_size
print(after_put - before, peak_mib() - before)
"""


def test_memory_is_bounded_both_ways(twin: Twin, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    with big.open("wb") as file:
        file.truncate(80 * MIB)
    environment = {**os.environ, "NORIA_LAKE_URL": twin.lake_url(), "NORIA_HOME": str(tmp_path)}
    told = subprocess.check_output([sys.executable, "-c", TRANSFER, big], env=environment, text=True, timeout=120)
    put_mib, both_mib = map(int, told.split())
    assert put_mib < 60 and both_mib < 60, "it grows with the file, not with the blocks on their way: " + told
