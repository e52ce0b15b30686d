"""A file on this machine. It is copied, so that a later change of it does not reach the snapshot."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from noria import pipeline
from noria.errors import SourceError
from noria.sources.base import Fetched, HashingWriter, Source

_BLOCK_BYTES = 1 << 20


class FileSource(Source):
    """A file by its path."""

    def __init__(self, spec: pipeline.FileSource) -> None:
        self._path = Path(spec.path).expanduser().resolve()

    @override
    def fetch(self, target: Path, etag: str | None = None) -> Fetched:
        try:
            source = self._path.open("rb")
        except FileNotFoundError:
            raise SourceError(f"no file {self._path}", remedy="Check the path; it is seen from this machine.") from None
        except IsADirectoryError:
            raise SourceError(f"{self._path} is a folder", expected="a CSV file") from None
        except OSError as error:
            raise SourceError(
                f"{self._path} cannot be read: {error.strerror}", remedy="Mend its permissions."
            ) from None
        with source, target.open("wb") as sink:
            writer = HashingWriter(sink)
            while block := source.read(_BLOCK_BYTES):
                writer.write(block)
        return Fetched(modified=True, sha256=writer.sha256, bytes=writer.bytes)
