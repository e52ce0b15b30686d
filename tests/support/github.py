"""A stand-in for GitHub's raw and API endpoints over a folder: ROOT/<owner>/<repo>/<path>.

    python -m tests.support.github --root DIR --port N

Set NORIA_GITHUB_RAW_URL and NORIA_GITHUB_API_URL to what it prints. Every repository has the branch `main`; its commit
is a hash of all its files, so it changes when a file does.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BRANCHES = ("main", "HEAD")


class Github:
    """The stand-in.

    Attributes:
        requests: (path, Authorization header or none) of each request that came.
        token: If set, everything else is answered by 404, as GitHub does for private repositories.
        api_status: If set, what the API answers to everything.
        raw_refs: The names that raw files are served at; none for branches and commits alike.
    """

    def __init__(self, root: Path, port: int = 0, token: str | None = None) -> None:
        self.root, self.token = root.resolve(), token
        self.api_status: int | None = None
        self.raw_refs: tuple[str, ...] | None = None
        self.requests: list[tuple[str, str | None]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Handler,), {"github": self}))
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        """Base of both endpoints."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def commit(self, owner: str, repo: str) -> str | None:
        """Commit of `main`; none if there is no such repository."""
        folder = self.root / owner / repo
        if not folder.is_dir():
            return None
        digest = hashlib.sha1()
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
        return digest.hexdigest()

    def file(self, owner: str, repo: str, ref: str, path: str) -> bytes | None:
        """Content of a file at a branch or commit."""
        folder = self.root / owner / repo
        target = (folder / path).resolve()
        if ref not in (self.raw_refs or (*BRANCHES, self.commit(owner, repo))) or not target.is_relative_to(folder):
            return None
        return target.read_bytes() if target.is_file() else None

    def run(self) -> None:
        self._http.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@contextlib.contextmanager
def github(root: Path, token: str | None = None) -> Iterator[Github]:
    """The stand-in for the length of the context."""
    server = Github(root, token=token)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    github: Github

    def do_GET(self) -> None:
        authorization = self.headers.get("authorization")
        self.github.requests.append((self.path, authorization))
        parts = [urllib.parse.unquote(p) for p in self.path.strip("/").split("/")]
        allowed = self.github.token is None or authorization == f"Bearer {self.github.token}"
        match parts:
            case ["repos", owner, repo, "commits", ref]:
                self._commit(owner, repo, ref, allowed=allowed)
            case [owner, repo, ref, *path] if path and allowed:
                self._raw(self.github.file(owner, repo, ref, "/".join(path)))
            case _:
                self._answer(404, b"404: Not Found")

    def _commit(self, owner: str, repo: str, ref: str, *, allowed: bool) -> None:
        commit = self.github.commit(owner, repo)
        if self.github.api_status:
            self._answer(self.github.api_status, b'{"message": "out of order"}')
        elif not allowed or commit is None or ref not in (*BRANCHES, commit):
            self._answer(404, b'{"message": "Not Found"}')
        else:
            self._answer(200, json.dumps({"sha": commit}).encode(), **{"Content-Type": "application/json"})

    def _raw(self, content: bytes | None) -> None:
        if content is None:
            return self._answer(404, b"404: Not Found")
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        if self.headers.get("if-none-match") == etag:
            return self._answer(304, b"", ETag=etag)
        return self._answer(200, content, ETag=etag, **{"Content-Type": "text/plain; charset=utf-8"})

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Be silent."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token")
    args = parser.parse_args()
    server = Github(args.root, args.port, args.token)
    print(f"NORIA_GITHUB_RAW_URL={server.url} NORIA_GITHUB_API_URL={server.url}", flush=True)
    server.run()


if __name__ == "__main__":
    main()
