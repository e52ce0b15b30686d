"""The lake's promises on ADLS Gen2: bytes travel through adlfs, and `Blobs` asks what adlfs does not tell."""

from __future__ import annotations

import contextlib
import posixpath
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

from noria.azure import AzureConnection
from noria.azure.errors import explained
from noria.errors import StorageError, StorageUnavailableError
from noria.lake.abfs.blobs import Blobs
from noria.lake.abfs.url import AbfsUrl
from noria.lake.base import LOCK_WAIT_SECONDS, Lake, busy
from noria.lake.scratch import new_folder, unwritable

if TYPE_CHECKING:
    from adlfs import AzureBlobFileSystem

T = TypeVar("T")
_LOCKS = ".locks"
_ATTEMPTS = 8


class AbfsLake(Lake):
    """Files below one folder of a container.

    Args:
        url: `abfss://CONTAINER@ACCOUNT_HOST[:PORT][/FOLDER]`.
        connection: With the identity; without it Azure's own chain of identities is asked.
        tmp: Folder on local disk for files while they are read.

    Raises:
        InputError: The URL is wrong, or the connection is for another account.
    """

    def __init__(self, url: str, connection: AzureConnection | None, tmp: Path | None = None) -> None:
        self._place = AbfsUrl.parse(url)
        self._connection = connection
        self._tmp = tmp or Path(tempfile.gettempdir()) / "noria"

    @property
    @override
    def root(self) -> str:
        return str(self._place)

    @override
    def exists(self, path: str) -> bool:
        name = self._at(path)
        with self._explained("look for", path):
            return self._ask(self._blobs.is_file, name)

    @override
    def read(self, path: str) -> bytes:
        name = self._at(path)
        with self._missing_is(path), self._explained("read", path):
            data: bytes = self._undisturbed(lambda: self._files.cat_file(self._full(name)))
            self._refuse_folder(name, len(data))
        return data

    @override
    def create(self, path: str, data: bytes) -> bool:
        name = self._at(path)
        with self._explained("create", path):
            return self._ask(self._blobs.create, name, data)

    @override
    def replace(self, path: str, data: bytes) -> None:
        name = self._at(path)
        with self._explained("write", path):
            self._undisturbed(lambda: self._files.pipe_file(self._full(name), data))

    @override
    def put(self, local: Path, path: str) -> None:
        name = self._at(path)
        try:
            with self._explained("write", path):
                self._undisturbed(lambda: self._files.put_file(str(local), self._full(name)))
        except OSError as error:
            raise StorageError(f"cannot write {path} from {local}: {error.strerror or error}") from error

    @override
    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[Path]:
        name = self._at(path)
        with new_folder(self._tmp) as folder:
            file = folder / (posixpath.basename(name) or "file")
            with self._missing_is(path), self._explained("read", path):
                self._undisturbed(lambda: self._files.get_file(self._full(name), str(file)))
                self._refuse_folder(name, file.stat().st_size)
            yield file

    @override
    def sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        base = self._at(folder)
        with self._explained("list", folder):
            files, _ = self._ask(self._blobs.below, base)
        root = f"{self._place.folder}/" if self._place.folder else ""
        locks = f"{_LOCKS}/"
        found = ((name.removeprefix(root), size) for name, size in files.items())
        yield from sorted((f for f in found if not f[0].startswith(locks)), key=lambda f: f[0].split("/"))

    @override
    def remove(self, path: str) -> None:
        name = self._at(path)
        with self._explained("remove", path):
            self._ask(self._blobs.remove, name)

    @override
    @contextlib.contextmanager
    def lock(self, name: str, wait_seconds: float = LOCK_WAIT_SECONDS) -> Iterator[Callable[[], None]]:
        from noria.lake.abfs.lease import Lease

        path = f"{_LOCKS}/{name}.lock"
        lease = Lease(self._blobs.client(self._at(path)), self._ask)

        def confirm(patience_seconds: float | None = None) -> None:
            with self._explained("lock", path):
                if not lease.held(patience_seconds):
                    raise StorageUnavailableError(
                        f"the lock {name!r} of the lake {self.root} went to somebody else while it was held",
                        remedy="The task tries again; what was done under the lock may have been done twice.",
                    )

        with self._explained("lock", path):
            if not lease.acquire(wait_seconds):
                raise busy(self, name, wait_seconds)
        with lease.renewed():
            yield confirm
            confirm(LOCK_WAIT_SECONDS)

    @override
    def now(self) -> datetime:
        with self._explained("ask for the time", ""):
            return self._ask(self._blobs.now)

    # What the methods share

    @property
    def _files(self) -> AzureBlobFileSystem:
        from noria.lake.abfs.client import file_system

        return file_system(self._place, self._connection)

    @property
    def _blobs(self) -> Blobs:
        return Blobs(self._files.service_client.get_container_client(self._place.container))

    def _ask(self, question: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run a coroutine function where adlfs runs its own."""
        from fsspec.asyn import sync

        answer: T = sync(self._files.loop, question, *args)
        return answer

    def _at(self, path: str) -> str:
        """Name of the blob at `path`.

        Raises:
            StorageError: It would be outside the lake, or no URL could name it.
        """
        relative = posixpath.normpath(path) if path else "."
        if relative.startswith(("/", "../")) or relative == "..":
            raise StorageError(f"path {path!r} leaves the lake {self.root}")
        if set("?#") & set(path):  # adlfs reads them as parts of a URL, and would take another blob
            raise StorageError(f"path {path!r} of the lake {self.root}", expected="a path without ? and #")
        parts = [part for part in (self._place.folder, relative) if part not in ("", ".")]
        return "/".join(parts)

    def _full(self, name: str) -> str:
        return f"{self._place.container}/{name}"

    @contextlib.contextmanager
    def _explained(self, what: str, path: str) -> Iterator[None]:
        place = f"container {self._place.container} of storage account {self._place.account} ({self._place.host})"
        with explained(f"cannot {what} {path or 'all'} in {place}"):
            yield

    @contextlib.contextmanager
    def _missing_is(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(path) from None
        except OSError as error:
            raise unwritable(self._tmp, error) from error

    def _undisturbed(self, transfer: Callable[[], T]) -> T:
        """Again from the start where another writer came in between, so that blocks or an ETag are gone."""
        from azure.core.exceptions import HttpResponseError

        for attempt in range(_ATTEMPTS - 1):
            try:
                return transfer()
            except HttpResponseError as error:
                if getattr(error, "error_code", "") not in ("InvalidBlockList", "ConditionNotMet"):
                    raise
            time.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311  # so that two do not go on disturbing each other
        return transfer()

    def _refuse_folder(self, name: str, size: int) -> None:
        """A folder reads as a file of no bytes."""
        if not size and not self._ask(self._blobs.is_file, name):
            raise FileNotFoundError(name)
