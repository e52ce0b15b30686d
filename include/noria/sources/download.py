"""Streams one URL into a file: time-outs, retries with back-off, resume by Range, length and content checks."""

from __future__ import annotations

import email.utils
import functools
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from noria.errors import SourceError, SourceNotFoundError, SourceUnavailableError
from noria.sources.base import Fetched, HashingWriter
from noria.sources.retry import Retry

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs, and a redirect's may carry a signature
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
_HTML = re.compile(rb"\s*<(!doctype html|html|head|body|\?xml)", re.IGNORECASE)
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class _AgainError(Exception):
    """This request brought no end; another one may."""

    def __init__(self, reason: str, after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.after_seconds = after_seconds


@dataclass(frozen=True)
class Request:
    """What to download.

    Attributes:
        url: Where from; shown in messages, so it carries no secret.
        token: Sent as a bearer token to that host alone; httpx drops it when a redirect leaves the host.
        etag: Of the content that is known already.
        sha256: What the bytes must hash to, if declared.
        hint: What a reader can do when there is nothing at the URL.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    etag: str | None = None
    sha256: str | None = None
    hint: str = "Check the URL."


def open_client(retry: Retry, url: str, token: str | None = None) -> httpx.Client:
    """A client for `url` with our time-outs, which follows redirects, but to plain http only within loopback."""
    headers = {"User-Agent": "noria", "Accept-Encoding": "identity"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return httpx.Client(
        headers=headers,
        timeout=httpx.Timeout(retry.read_seconds, connect=retry.connect_seconds),
        follow_redirects=True,
        event_hooks={"request": [functools.partial(_refuse_plain_http, httpx.URL(url))]},
    )


def download(request: Request, target: Path, retry: Retry) -> Fetched:
    """Stream `request.url` into `target`.

    Raises:
        SourceError: 404 and other final answers, an HTML page, another sha256 than declared.
        SourceUnavailableError: 5xx, 429, time-outs or broken connections to the end of the retries.
    """
    with open_client(retry, request.url, request.token) as client, target.open("wb") as sink:
        transfer = _Transfer(client, request, HashingWriter(sink))
        failures = 0
        while True:
            before = transfer.writer.bytes
            try:
                return transfer.attempt()
            except _AgainError as error:
                failures = 1 if transfer.resumed and transfer.writer.bytes > before else failures + 1
                _wait(request, retry, failures, error, transfer.writer.bytes)


def _wait(request: Request, retry: Retry, failures: int, error: _AgainError, done_bytes: int) -> None:
    after = error.after_seconds or 0.0
    if failures >= retry.attempts or after > retry.limit_seconds:
        wish = f" (it asks to come back in {after:.0f} s)" if after else ""
        raise SourceUnavailableError(
            f"{request.url}: {error}{wish}; gave up after {failures} attempt{'s' * (failures > 1)}",
            remedy="The source may be down; try again later.",
        )
    wait = max(after, retry.wait_seconds(failures))
    log.warning("%s: %s; %d bytes so far, next attempt in %.1f s", request.url, error, done_bytes, wait)
    retry.sleep(wait)


class _Transfer:
    """One download over several requests."""

    def __init__(self, client: httpx.Client, request: Request, writer: HashingWriter) -> None:
        self._client, self._request, self.writer = client, request, writer
        self._etag: str | None = None
        self._weak_etag: str | None = None
        self.resumed = False

    def attempt(self) -> Fetched:
        """One request, from where the last one broke off if the server can."""
        try:
            with self._client.stream("GET", self._request.url, headers=self._headers()) as response:
                if response.status_code == httpx.codes.NOT_MODIFIED and self._request.etag:
                    return Fetched(modified=False, etag=response.headers.get("etag") or self._request.etag)
                self._check_status(response)
                self._receive(response)
        except httpx.TooManyRedirects:
            raise SourceError(f"{self._request.url}: redirects in a circle", remedy=self._request.hint) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise SourceError(f"{self._request.url}: {error}", remedy=self._request.hint) from None
        except httpx.TimeoutException as error:
            raise _AgainError(f"no answer in time ({type(error).__name__})") from None
        except httpx.TransportError as error:
            raise _AgainError(f"connection failed: {error}") from None
        return self._finish()

    def _headers(self) -> dict[str, str]:
        self.resumed = False
        if self.writer.bytes and self._etag:
            return {"Range": f"bytes={self.writer.bytes}-", "If-Range": self._etag}
        self.writer.restart()
        return {"If-None-Match": self._request.etag} if self._request.etag else {}

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            return
        what = f"HTTP {status} {response.reason_phrase}".rstrip()
        if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and self.writer.bytes:
            self.writer.restart()
            self._etag = None
            raise _AgainError(what)
        if status in _RETRYABLE or response.headers.get("x-ratelimit-remaining") == "0":
            raise _AgainError(what, _retry_after(response.headers))
        kind = SourceNotFoundError if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE) else SourceError
        raise kind(f"{self._request.url}: {what}", remedy=self._request.hint)

    def _receive(self, response: httpx.Response) -> None:
        etag = response.headers.get("etag")
        if response.status_code == httpx.codes.OK:
            self.writer.restart()
            total = _length(response)
        else:
            total = self._resume(response, etag)
        self._etag = etag if etag and not etag.startswith("W/") else None
        self._weak_etag = etag
        for block in response.iter_raw():
            if not self.writer.bytes:
                self._check_content(response, block)
            self.writer.write(block)
        if total is not None and self.writer.bytes != total:
            raise _AgainError(f"broke off at byte {self.writer.bytes} of {total}")

    def _resume(self, response: httpx.Response, etag: str | None) -> int:
        """Check that a partial answer continues what is there; the length of the whole."""
        known, self._etag = self._etag, None  # whatever is wrong, the next request asks for everything
        told = response.headers.get("content-range", "")
        if "range" not in response.request.headers:
            raise _AgainError(f"answered a part ({told}) although the whole was asked for")
        if etag != known:  # a server may overlook If-Range
            raise _AgainError(f"the file changed meanwhile (its ETag was {known}, is {etag})")
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", told.strip())
        if match is None or int(match[1]) != self.writer.bytes:
            raise _AgainError(f"answered another range ({told})")
        self.resumed = True
        return int(match[2])

    def _check_content(self, response: httpx.Response, head: bytes) -> None:
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise SourceError(f"{self._request.url}: compressed ({encoding}) although unasked", expected="plain bytes")
        if _HTML.match(head.removeprefix(b"\xef\xbb\xbf")):
            kind = response.headers.get("content-type", "no content type")
            raise SourceError(
                f"{response.url.copy_with(query=None)}: a web page ({kind})",
                expected="a CSV file",
                remedy="Perhaps a login page, or the page about the file instead of the file itself.",
            )
        if head.startswith(_LFS_POINTER):
            raise SourceError(
                f"{self._request.url}: a Git LFS pointer",
                expected="a CSV file",
                remedy="Give the https address of the file's content (media.githubusercontent.com for GitHub).",
            )

    def _finish(self) -> Fetched:
        wanted = self._request.sha256
        if wanted and wanted != self.writer.sha256:
            raise SourceError(
                f"{self._request.url}: sha256 is {self.writer.sha256}",
                expected=wanted,
                remedy="The file has changed; look at it, then declare its new sha256 under `source:`.",
            )
        return Fetched(modified=True, sha256=self.writer.sha256, bytes=self.writer.bytes, etag=self._weak_etag)


def _length(response: httpx.Response) -> int | None:
    declared = response.headers.get("content-length", "")
    return int(declared) if declared.isdigit() else None


def _refuse_plain_http(asked: httpx.URL, request: httpx.Request) -> None:
    """A server elsewhere must not send us to this machine's own services either."""
    if request.url.scheme == "http" and not (request.url.host in LOOPBACK and asked.host in LOOPBACK):
        raise SourceError(
            f"redirected to plain http ({request.url.host})", expected="https", remedy="Name the https address itself."
        )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks for: a number or a date (RFC 9110, 10.2.3), or GitHub's time of reset."""
    text = headers.get("retry-after", "")
    if text.isdigit():
        return float(text)
    if text:
        try:
            return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
        except ValueError:
            return None
    reset = headers.get("x-ratelimit-reset", "")
    return max(0.0, float(reset) - time.time()) if reset.isdigit() else None
