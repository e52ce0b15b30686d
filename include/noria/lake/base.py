"""The lake's interface, which every back end fulfils, and the table of back ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from noria.azure import AzureConnection
from noria.errors import BusyError, InputError

LOCK_WAIT_SECONDS = 120.0
"""How long `lock` waits; longer than a promotion takes, and than a killed holder's lock lasts."""


class Lake(ABC):
    """Files by relative path under one root.

    Every method raises StorageError where the storage refuses (full, no permission), with the path and the remedy.
    """

    @property
    @abstractmethod
    def root(self) -> str:
        """The root as a path or URL that Spark and people understand."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether a file stands at `path`."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The whole file; for documents, not for data. Raises FileNotFoundError."""

    @abstractmethod
    def create(self, path: str, data: bytes) -> bool:
        """Write a document whole, only if nothing stands there; False if something did (it is left as it is)."""

    @abstractmethod
    def replace(self, path: str, data: bytes) -> None:
        """Write a document whole, over what stood there."""

    @abstractmethod
    def put(self, local: Path, path: str) -> None:
        """Copy a local file, or move it where that is cheaper, to `path`, whole; bounded memory."""

    @abstractmethod
    def local(self, path: str) -> AbstractContextManager[Path]:
        """A local file with the content of `path`, for reading while the context lasts."""

    @abstractmethod
    def sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        """Paths of all files below `folder`, sorted, each with its size in bytes; no file is read for it."""

    def list(self, folder: str) -> Iterator[str]:
        """Paths of all files below `folder`, sorted."""
        return (path for path, _size in self.sizes(folder))

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a file or a folder with all in it; nothing happens where nothing stands."""

    @abstractmethod
    def lock(self, name: str, wait_seconds: float = LOCK_WAIT_SECONDS) -> AbstractContextManager[Callable[[], None]]:
        """Held by one at a time among all that use this lake; free again soon after a holder was killed.

        A holder that was cut off for half a minute may have lost it. So the context gives a function that raises
        StorageUnavailableError where the lock cannot be shown to be held still, for right before what must not be done
        by two; the end of the context asks it too.

        Raises:
            BusyError: Somebody else has held it for `wait_seconds`.
        """

    @abstractmethod
    def now(self) -> datetime:
        """The present time in UTC by the clock of whoever keeps the files; it may be a second old."""

    def url(self, path: str) -> str:
        """`path` under the root, for people and for Spark."""
        return f"{self.root.rstrip('/')}/{path}"


def busy(lake: Lake, name: str, wait_seconds: float) -> BusyError:
    """What a lock raises that waited in vain."""
    return BusyError(
        f"somebody else has held the lock {name!r} of the lake {lake.root} for {wait_seconds:.0f} s",
        remedy="Wait for the other one, then run again.",
    )


def open_lake(url: str, connection: AzureConnection | None = None, tmp: Path | None = None) -> Lake:
    """The lake at a local path or URL.

    Args:
        url: A local path, `file://…`, or `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net[/FOLDER]`.
        connection: With the identity for a lake on Azure; without it Azure's own chain of identities is asked.
        tmp: Local folder for what is fetched from far away while it is read; without it the system's.

    Raises:
        InputError: No back end for that scheme, or the URL or the connection is wrong.
    """
    scheme = url.partition("://")[0] if "://" in url else "file"
    if scheme == "file":
        from noria.lake.disk import DiskLake

        return DiskLake(Path(url.removeprefix("file://")))
    if scheme in ("abfs", "abfss"):
        from noria.lake.abfs import AbfsLake

        return AbfsLake(url, connection, tmp)
    raise InputError(f"lake {url!r}", expected="a local path, or a URL with file://, abfs:// or abfss://")
