"""Downloads from a real server on loopback that misbehaves."""

import gzip
import hashlib
import itertools
import tracemalloc
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from noria.errors import ExitCode, NoriaError, SourceError, SourceNotFoundError, SourceUnavailableError
from noria.sources.download import Request, download, open_client
from noria.sources.retry import Retry
from tests.support.http_server import BreakOff, PartOnly, Server, Slow, Status, WrongLength, serve

BODY = b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(60_000))
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def retry(waits: list[float]) -> Retry:
    return Retry(attempts=4, read_seconds=20, sleep=waits.append)


def test_the_bytes_arrive_whole(server: Server, retry: Retry, tmp_path: Path) -> None:
    url = server.put("/x.csv", BODY, etag='"v1"')
    fetched = download(Request(url), tmp_path / "x", retry)
    assert (tmp_path / "x").read_bytes() == BODY
    assert (fetched.sha256, fetched.bytes, fetched.etag) == (SHA256, len(BODY), '"v1"')
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_not_modified_brings_no_bytes(server: Server, retry: Retry, tmp_path: Path) -> None:
    url = server.put("/x.csv", BODY, etag='"v1"')
    assert not download(Request(url, etag='"v1"'), tmp_path / "x", retry).modified
    assert download(Request(url, etag='"v0"'), tmp_path / "x", retry).sha256 == SHA256


def test_404_is_final(server: Server, retry: Retry, waits: list[float], tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"HTTP 404.*Check the URL") as caught:
        download(Request(server.url + "/none.csv"), tmp_path / "x", retry)
    assert caught.value.exit_code == ExitCode.BAD_INPUT
    assert not caught.value.retryable
    assert len(server.requests) == 1
    assert not waits


@pytest.mark.parametrize("status", [401, 403, 410, 418])
def test_other_client_errors_are_final_too(server: Server, retry: Retry, tmp_path: Path, status: int) -> None:
    url = server.put("/x.csv", BODY, Status(status))
    with pytest.raises(SourceError, match=f"HTTP {status}"):
        download(Request(url), tmp_path / "x", retry)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_trouble_that_passes_is_waited_for(
    server: Server, retry: Retry, waits: list[float], tmp_path: Path, status: int
) -> None:
    url = server.put("/x.csv", BODY, Status(status), Status(status))
    assert download(Request(url), tmp_path / "x", retry).sha256 == SHA256
    assert 0.25 <= waits[0] <= 0.5 <= waits[1] <= 1.0


def test_trouble_that_stays_is_a_retryable_error(
    server: Server, retry: Retry, waits: list[float], tmp_path: Path
) -> None:
    url = server.put("/x.csv", BODY, *[Status(500)] * 9)
    with pytest.raises(SourceUnavailableError, match=r"HTTP 500.*4 attempts") as caught:
        download(Request(url), tmp_path / "x", retry)
    assert caught.value.retryable
    assert caught.value.exit_code == ExitCode.FAILED
    assert len(waits) == 3


def test_retry_after_is_honoured(server: Server, retry: Retry, waits: list[float], tmp_path: Path) -> None:
    url = server.put(
        "/x.csv", BODY, Status(429, {"Retry-After": "7"}), Status(503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})
    )
    assert download(Request(url), tmp_path / "x", retry).sha256 == SHA256
    assert waits[0] == 7
    assert waits[1] <= 1


def test_a_server_that_asks_for_an_hour_gets_no_waiting_task(
    server: Server, retry: Retry, waits: list[float], tmp_path: Path
) -> None:
    url = server.put("/x.csv", BODY, Status(429, {"Retry-After": formatdate(4e9, usegmt=True)}))
    with pytest.raises(SourceUnavailableError, match="asks to come back in"):
        download(Request(url), tmp_path / "x", retry)
    assert not waits


def test_a_broken_download_goes_on_where_it_broke_off(server: Server, retry: Retry, tmp_path: Path) -> None:
    url = server.put("/x.csv", BODY, BreakOff(200_000), BreakOff(100_000), etag='"v1"')
    assert download(Request(url), tmp_path / "x", retry).sha256 == SHA256
    assert (tmp_path / "x").read_bytes() == BODY
    ranges = [r.headers.get("range") for r in server.requests]
    assert ranges[0] is None
    starts = [int(r.removeprefix("bytes=").removesuffix("-")) for r in ranges[1:] if r]
    assert 0 < starts[0] < starts[1] <= 300_000
    assert server.requests[1].headers["if-range"] == '"v1"'


def test_a_file_that_changed_meanwhile_is_taken_from_its_start(server: Server, retry: Retry, tmp_path: Path) -> None:
    old = b"old," * 50_000
    url = server.put("/x.csv", old, BreakOff(100_000), etag='"v1"')

    def change(_seconds: float) -> None:
        server.put("/x.csv", BODY, etag='"v2"')

    fetched = download(Request(url), tmp_path / "x", Retry(sleep=change))
    assert (tmp_path / "x").read_bytes() == BODY
    assert fetched.etag == '"v2"'


def test_two_versions_are_never_spliced_by_a_server_without_if_range(server: Server, tmp_path: Path) -> None:
    old = b"old," * 50_000
    url = server.put("/x.csv", old, BreakOff(100_000), etag='"v1"')

    def change(_seconds: float) -> None:
        server.put("/x.csv", BODY, etag='"v2"', if_range=False)

    fetched = download(Request(url), tmp_path / "x", Retry(sleep=change))
    assert (tmp_path / "x").read_bytes() == BODY
    assert (fetched.sha256, fetched.etag) == (SHA256, '"v2"')
    assert ["range" in r.headers for r in server.requests] == [False, True, False]


def test_a_part_that_ends_early_is_continued(server: Server, retry: Retry, tmp_path: Path) -> None:
    url = server.put("/x.csv", BODY, BreakOff(200_000), PartOnly(50_000), PartOnly(50_000), etag='"v1"')
    assert download(Request(url), tmp_path / "x", retry).bytes == len(BODY)
    assert (tmp_path / "x").read_bytes() == BODY


def test_a_part_that_was_not_asked_for_is_not_taken_for_the_whole(server: Server, retry: Retry, tmp_path: Path) -> None:
    url = server.put("/x.csv", BODY, PartOnly(50_000), etag='"v1"')
    assert download(Request(url), tmp_path / "x", retry).sha256 == SHA256
    url = server.put("/x.csv", BODY, *[PartOnly(50_000)] * 4)
    with pytest.raises(SourceUnavailableError, match=r"a part \(bytes 0-49999/\d+\) although the whole was asked for"):
        download(Request(url), tmp_path / "x", retry)


@pytest.mark.parametrize(("etag", "ranges"), [('"v1"', False), ('W/"v1"', True), (None, True)])
def test_without_ranges_or_a_strong_etag_it_starts_again(
    server: Server, retry: Retry, tmp_path: Path, etag: str | None, ranges: bool
) -> None:
    url = server.put("/x.csv", BODY, BreakOff(200_000), etag=etag, ranges=ranges)
    assert download(Request(url), tmp_path / "x", retry).sha256 == SHA256
    assert (tmp_path / "x").stat().st_size == len(BODY)


def test_progress_starts_the_count_of_attempts_again(server: Server, retry: Retry, tmp_path: Path) -> None:
    url = server.put("/x.csv", BODY, *[BreakOff(70_000)] * 7, etag='"v1"')
    assert download(Request(url), tmp_path / "x", retry).sha256 == SHA256
    assert len(server.requests) == 8


def test_fewer_bytes_than_declared_are_not_accepted(server: Server, retry: Retry, tmp_path: Path) -> None:
    url = server.put("/x.csv", BODY, *[WrongLength(10)] * 4, ranges=False)
    with pytest.raises(SourceUnavailableError, match="4 attempts"):
        download(Request(url), tmp_path / "x", retry)


def test_a_slow_server_is_given_up_and_asked_again(server: Server, waits: list[float], tmp_path: Path) -> None:
    retry = Retry(attempts=4, read_seconds=0.4, sleep=waits.append)
    url = server.put("/x.csv", BODY, Slow(1.0))
    assert download(Request(url), tmp_path / "x", retry).sha256 == SHA256
    url = server.put("/x.csv", BODY, *[Slow(0.8)] * 4)
    with pytest.raises(SourceUnavailableError, match="no answer in time"):
        download(Request(url), tmp_path / "x", retry)


def test_nobody_listens(retry: Retry, tmp_path: Path) -> None:
    with serve() as server:
        url = server.url
    with pytest.raises(SourceUnavailableError, match="connection failed"):
        download(Request(url + "/x.csv"), tmp_path / "x", retry)


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html>", b"\n <html lang=en>", b"\xef\xbb\xbf<!doctype HTML>"])
def test_a_web_page_is_not_a_table(server: Server, retry: Retry, tmp_path: Path, page: bytes) -> None:
    url = server.put("/x.csv", page, content_type="text/html")
    with pytest.raises(SourceError, match=r"a web page \(text/html\); expected a CSV file"):
        download(Request(url), tmp_path / "x", retry)


def test_a_git_lfs_pointer_is_not_a_table(server: Server, retry: Retry, tmp_path: Path) -> None:
    url = server.put("/x.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(SourceError, match="Git LFS pointer"):
        download(Request(url), tmp_path / "x", retry)


def test_bytes_that_came_compressed_are_refused(server: Server, retry: Retry, tmp_path: Path) -> None:
    url = server.put("/x.csv", gzip.compress(BODY), content_encoding="gzip")
    with pytest.raises(SourceError, match=r"compressed \(gzip\)"):
        download(Request(url), tmp_path / "x", retry)


def test_a_declared_sha256_is_checked(server: Server, retry: Retry, tmp_path: Path) -> None:
    url = server.put("/x.csv", BODY)
    assert download(Request(url, sha256=SHA256), tmp_path / "x", retry).sha256 == SHA256
    with pytest.raises(SourceError, match=f"sha256 is {SHA256}; expected 0000"):
        download(Request(url, sha256="0" * 64), tmp_path / "x", retry)


def test_a_token_does_not_follow_a_redirect_to_another_host(server: Server, retry: Retry, tmp_path: Path) -> None:
    with serve() as other:
        other.put("/x.csv", BODY)
        elsewhere = f"http://localhost:{other.url.rpartition(':')[2]}/x.csv"
        url = server.put("/old.csv", b"", Status(302, {"Location": elsewhere}))
        assert download(Request(url, token="s3cret"), tmp_path / "x", retry).sha256 == SHA256
        assert server.requests[0].headers["authorization"] == "Bearer s3cret"
        assert "authorization" not in other.requests[0].headers


def test_a_redirect_to_plain_http_is_refused(server: Server, retry: Retry, tmp_path: Path) -> None:
    url = server.put("/x.csv", b"", Status(301, {"Location": "http://data.example.org/x.csv"}))
    with pytest.raises(SourceError, match="plain http"):
        download(Request(url), tmp_path / "x", retry)


def test_a_server_elsewhere_cannot_send_us_to_this_machine(retry: Retry) -> None:
    with open_client(retry, "https://data.example.org/x.csv") as client:
        (check,) = client.event_hooks["request"]
        check(httpx.Request("GET", "https://cdn.example.org/x.csv"))
        for host in ("127.0.0.1", "localhost", "[::1]", "data.example.org"):
            with pytest.raises(SourceError, match="redirected to plain http"):
                check(httpx.Request("GET", f"http://{host}/metadata"))


def test_a_circle_of_redirects_ends(server: Server, retry: Retry, tmp_path: Path) -> None:
    url = server.put("/x.csv", b"", *[Status(302, {"Location": "/x.csv"})] * 50)
    with pytest.raises(SourceError, match="circle"):
        download(Request(url), tmp_path / "x", retry)


def test_messages_never_hold_the_token(
    server: Server, retry: Retry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="noria")
    url = server.put("/x.csv", BODY, *[Status(500)] * 4)
    with pytest.raises(NoriaError) as caught:
        download(Request(url, token="s3cret"), tmp_path / "x", retry)
    assert "s3cret" not in str(caught.value) + caplog.text + repr(Request(url, token="s3cret"))


def test_memory_stays_bounded(server: Server, retry: Retry, tmp_path: Path) -> None:
    block = b"1,2\n" * 65_536
    url = server.put("/big.csv", lambda: itertools.repeat(block, 256), length=256 * len(block))
    tracemalloc.start()
    fetched = download(Request(url), tmp_path / "x", retry)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fetched.bytes == 64 << 20
    assert peak < 8 << 20
