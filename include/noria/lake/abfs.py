"""The lake on ADLS Gen2, through adlfs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from typing_extensions import override

from noria.azure import AzureConnection
from noria.lake.base import LOCK_WAIT_SECONDS, Lake


class AbfsLake(Lake):
    """Files below one folder of a container."""

    def __init__(self, url: str, connection: AzureConnection | None) -> None:
        self._url, self._connection = url, connection

    @property
    @override
    def root(self) -> str:
        return self._url

    @override
    def exists(self, path: str) -> bool:
        raise NotImplementedError

    @override
    def read(self, path: str) -> bytes:
        raise NotImplementedError

    @override
    def create(self, path: str, data: bytes) -> bool:
        raise NotImplementedError

    @override
    def replace(self, path: str, data: bytes) -> None:
        raise NotImplementedError

    @override
    def put(self, local: Path, path: str) -> None:
        raise NotImplementedError

    @override
    def local(self, path: str) -> AbstractContextManager[Path]:
        raise NotImplementedError

    @override
    def list(self, folder: str) -> Iterator[str]:
        raise NotImplementedError

    @override
    def remove(self, path: str) -> None:
        raise NotImplementedError

    @override
    def lock(self, name: str, wait_seconds: float = LOCK_WAIT_SECONDS) -> AbstractContextManager[None]:
        raise NotImplementedError
