"""What every source fulfils, and the table of sources."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from noria import pipeline
from noria.settings import Settings
from noria.sources.retry import Retry


@dataclass(frozen=True)
class Fetched:
    """What a source delivered.

    Attributes:
        modified: False if the source said that the data is still what the given etag stands for; then no bytes came.
        sha256: Over the bytes, in hex; empty if not modified.
        bytes: Their number.
        etag: The source's own name for this content, if it has one.
        commit: The commit the bytes are from, if the source knows commits and could tell.
    """

    modified: bool
    sha256: str = ""
    bytes: int = 0
    etag: str | None = None
    commit: str | None = None


class Source(ABC):
    """Bytes from one place."""

    @abstractmethod
    def fetch(self, target: Path, etag: str | None = None) -> Fetched:
        """Stream the bytes into `target` with bounded memory.

        Args:
            target: A local file to write; what stood there is overwritten.
            etag: Etag of the content that is known already; a source may then answer "not modified".

        Raises:
            SourceError: There is no such data, or it is not what was declared; trying again will not help.
            SourceUnavailableError: The source did not answer well, even after retries.
        """


class HashingWriter:
    """Counts and hashes what goes into a file."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._digest = hashlib.sha256()
        self.bytes = 0

    closed = False

    def flush(self) -> None:
        """Nothing is held back here."""

    def write(self, data: bytes | memoryview) -> int:
        """Write, hash and count."""
        self._sink.write(data)
        self._digest.update(data)
        self.bytes += len(data)
        return len(data)

    def restart(self) -> None:
        """Forget all that was written."""
        self._sink.seek(0)
        self._sink.truncate()
        self._digest = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """Of all bytes so far, in hex."""
        return self._digest.hexdigest()


def open_source(
    spec: pipeline.Source, settings: Settings, credential: str | None = None, retry: Retry | None = None
) -> Source:
    """The source of a spec.

    Args:
        spec: What stands under `source:` in pipeline.yaml.
        settings: Bases of GitHub's endpoints.
        credential: Token for sources that take one.
        retry: How often and how patiently a request is repeated.
    """
    retry = retry or Retry()
    match spec:
        case pipeline.SampleSource():
            from noria.sources.sample import SampleSource

            return SampleSource(spec)
        case pipeline.FileSource():
            from noria.sources.file import FileSource

            return FileSource(spec)
        case pipeline.HttpsSource():
            from noria.sources.https import HttpsSource

            return HttpsSource(spec, credential, retry)
        case pipeline.GithubSource():
            from noria.sources.github import GithubSource

            return GithubSource(spec, settings.github_raw_url, settings.github_api_url, credential, retry)
