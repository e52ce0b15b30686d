"""A lake that counts what it is asked, as a storage account bills it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from typing_extensions import override

from noria.lake.base import LOCK_WAIT_SECONDS, Lake

_BILLED_BYTES = 4 * 2**20
"""A larger transfer is billed as several: https://azure.microsoft.com/pricing/details/storage/data-lake/"""
_BILLED_NAMES = 5000
"""What one answer to a list holds at most."""


class CountedLake(Lake):
    """Another lake, and what it was asked since this one was made.

    Removing is not counted, since nobody bills it, nor is what others (Spark) read and write by themselves.

    Attributes:
        requests: Reads and writes.
        write_requests: Writes alone.
        stored_bytes: Bytes that were written.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._turn = threading.Lock()
        self.requests = self.write_requests = self.stored_bytes = 0

    @property
    @override
    def root(self) -> str:
        return self._lake.root

    @override
    def exists(self, path: str) -> bool:
        self._read(0)
        return self._lake.exists(path)

    @override
    def read(self, path: str) -> bytes:
        data = self._lake.read(path)
        self._read(len(data))
        return data

    @override
    def create(self, path: str, data: bytes) -> bool:
        created = self._lake.create(path, data)
        self._written(len(data) if created else 0)
        return created

    @override
    def replace(self, path: str, data: bytes) -> None:
        self._lake.replace(path, data)
        self._written(len(data))

    @override
    def put(self, local: Path, path: str) -> None:
        size = local.stat().st_size if local.exists() else 0  # the lake itself says what is wrong
        self._lake.put(local, path)
        self._written(size)

    @override
    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[Path]:
        with self._lake.local(path) as file:
            self._read(file.stat().st_size)
            yield file

    @override
    def sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        found = list(self._lake.sizes(folder))
        for _answer in range(0, max(1, len(found)), _BILLED_NAMES):
            self._read(0)
        return iter(found)

    @override
    def remove(self, path: str) -> None:
        self._lake.remove(path)

    @override
    @contextlib.contextmanager
    def lock(self, name: str, wait_seconds: float = LOCK_WAIT_SECONDS) -> Iterator[Callable[[], None]]:
        self._written(0)
        with self._lake.lock(name, wait_seconds) as confirm:
            yield confirm

    @override
    def now(self) -> datetime:
        self._read(0)
        return self._lake.now()

    @override
    def url(self, path: str) -> str:
        return self._lake.url(path)

    def _read(self, size: int) -> None:
        with self._turn:
            self.requests += _billed(size)

    def _written(self, size: int) -> None:
        with self._turn:
            self.requests += _billed(size)
            self.write_requests += _billed(size)
            self.stored_bytes += size


def _billed(size: int) -> int:
    return max(1, -(-size // _BILLED_BYTES))
