"""A file behind a URL."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from noria import pipeline
from noria.sources.base import Fetched, Source
from noria.sources.download import Request, download
from noria.sources.retry import Retry


class HttpsSource(Source):
    """A URL, with a bearer token if the spec names a connection that has one."""

    def __init__(self, spec: pipeline.HttpsSource, token: str | None, retry: Retry) -> None:
        self._spec, self._token, self._retry = spec, token, retry

    @override
    def fetch(self, target: Path, etag: str | None = None) -> Fetched:
        hint = "Check the URL; if it needs a token, put that into the connection named by `source.connection`."
        return download(
            Request(self._spec.url, self._token, etag, self._spec.sha256, hint),
            target,
            self._retry,
        )
