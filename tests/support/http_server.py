"""A real HTTP server on loopback that misbehaves on command."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Status:
    """Answer with this status and a short text."""

    code: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BreakOff:
    """Promise all, send that many bytes, close."""

    after_bytes: int


@dataclass(frozen=True)
class WrongLength:
    """Declare so many bytes more than are sent."""

    more: int


@dataclass(frozen=True)
class Slow:
    """Wait before the first byte."""

    seconds: float


@dataclass(frozen=True)
class PartOnly:
    """Answer 206 with no more than that many bytes, asked for or not, as some proxies do."""

    bytes: int


Fault = Status | BreakOff | WrongLength | Slow | PartOnly


@dataclass
class Resource:
    """What stands at a path.

    Attributes:
        body: The bytes, or a function that makes them block by block (with `length`).
        faults: One for each coming request; afterwards the server behaves.
        ranges: Whether Range requests are understood.
        if_range: Whether If-Range is understood; without it, a range of another version is sent.
    """

    body: bytes | Callable[[], Iterator[bytes]]
    etag: str | None = None
    content_type: str = "text/csv"
    content_encoding: str | None = None
    ranges: bool = True
    if_range: bool = True
    length: int | None = None
    faults: deque[Fault] = field(default_factory=deque)


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    path: str
    headers: dict[str, str]


class Server:
    """Resources by path, and the requests that came."""

    def __init__(self) -> None:
        self.resources: dict[str, Resource] = {}
        self.requests: list[Seen] = []
        handler = type("Handler", (_Handler,), {"served": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def put(self, path: str, body: bytes | Callable[[], Iterator[bytes]], *faults: Fault, **options: object) -> str:
        """Serve `body` at `path`; the URL."""
        self.resources[path] = Resource(body, faults=deque(faults), **options)  # type: ignore[arg-type]
        return self.url + path

    def run(self) -> None:
        self._http.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    """A server for the length of the context."""
    server = Server()
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Server

    def do_GET(self) -> None:
        self.served.requests.append(Seen(self.path, {k.lower(): v for k, v in self.headers.items()}))
        resource = self.served.resources.get(self.path)
        if resource is None:
            return self._say(404)
        fault = resource.faults.popleft() if resource.faults else None
        if isinstance(fault, Status):
            return self._say(fault.code, fault.headers)
        if isinstance(fault, Slow):
            time.sleep(fault.seconds)
        if resource.etag and self.headers.get("if-none-match") == resource.etag:
            return self._say(304, {"ETag": resource.etag})
        if callable(resource.body):
            return self._send_blocks(resource, resource.body)
        self._send_body(resource, resource.body, fault)
        return None

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # clients that give up are part of the tests
            super().handle()

    def _send_body(self, resource: Resource, whole: bytes, fault: Fault | None) -> None:
        body, start = whole, self._range_start(resource)
        if start or isinstance(fault, PartOnly):
            body = whole[start : start + fault.bytes] if isinstance(fault, PartOnly) else whole[start:]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(whole)}")
        else:
            self.send_response(200)
        more = fault.more if isinstance(fault, WrongLength) else 0
        self._common(resource, len(body) + more)
        self.wfile.write(body[: fault.after_bytes] if isinstance(fault, BreakOff) else body)
        self.wfile.flush()
        self.close_connection = fault is not None

    def _range_start(self, resource: Resource) -> int:
        wanted = self.headers.get("range", "")
        if not (resource.ranges and wanted.startswith("bytes=") and wanted.endswith("-")):
            return 0
        unchanged = not resource.if_range or self.headers.get("if-range") in (None, resource.etag)
        return int(wanted.removeprefix("bytes=").removesuffix("-")) if unchanged else 0

    def _send_blocks(self, resource: Resource, blocks: Callable[[], Iterator[bytes]]) -> None:
        self.send_response(200)
        self._common(resource, resource.length or sum(len(b) for b in blocks()))
        for block in blocks():
            self.wfile.write(block)

    def _common(self, resource: Resource, length: int) -> None:
        self.send_header("Content-Length", str(length))
        self.send_header("Content-Type", resource.content_type)
        for name, value in (("ETag", resource.etag), ("Content-Encoding", resource.content_encoding)):
            if value:
                self.send_header(name, value)
        self.end_headers()

    def _say(self, status: int, headers: dict[str, str] | None = None) -> None:
        body = b"" if status in (204, 304) else f"status {status}".encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Be silent."""
