"""The lake on local disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from typing_extensions import override

from noria.errors import StorageError
from noria.lake.base import LOCK_WAIT_SECONDS, Lake, busy

_STAGING, _LOCKS = ".tmp", ".locks"
_STALE_SECONDS = 3600.0
_LINK_REFUSED = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES})
"""Other file system, no hard links there, or not our file: then a copy does."""


class DiskLake(Lake):
    """Files below one folder. They are written under `.tmp`, synced, then linked or moved into place, one by one."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._swept = False

    @property
    @override
    def root(self) -> str:
        return str(self._root)

    @override
    def exists(self, path: str) -> bool:
        target = self._at(path)
        try:
            return target.is_file()
        except OSError as error:
            raise _storage_error("read", target, error) from error

    @override
    def read(self, path: str) -> bytes:
        target = self._at(path)
        try:
            return target.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(path) from None
        except OSError as error:
            raise _storage_error("read", target, error) from error

    @override
    def create(self, path: str, data: bytes) -> bool:
        with self._staged(path, data) as (staged, target):
            try:
                os.link(staged, target)
            except FileExistsError:
                return False
        return True

    @override
    def replace(self, path: str, data: bytes) -> None:
        with self._staged(path, data) as (staged, target):
            staged.replace(target)

    @override
    def put(self, local: Path, path: str) -> None:
        with self._staged(path) as (staged, target):
            try:
                os.link(local, staged)
            except OSError as error:
                if error.errno not in _LINK_REFUSED:
                    raise
                shutil.copyfile(local, staged)
            _sync(staged)
            staged.replace(target)

    @override
    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[Path]:
        target = self._at(path)
        if not target.is_file():
            raise FileNotFoundError(path)
        yield target

    @override
    def sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        base = self._at(folder)
        for file in sorted(base.rglob("*")):
            relative = file.relative_to(self._root)
            if relative.parts[0] in (_STAGING, _LOCKS):
                continue
            try:
                found = file.stat()
            except FileNotFoundError:  # somebody else has removed it
                continue
            if stat.S_ISREG(found.st_mode):
                yield relative.as_posix(), found.st_size

    @override
    def remove(self, path: str) -> None:
        target = self._at(path)
        try:
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
        except FileNotFoundError:  # somebody else was quicker
            return
        except OSError as error:
            raise _storage_error("remove", target, error) from error

    @override
    @contextlib.contextmanager
    def lock(self, name: str, wait_seconds: float = LOCK_WAIT_SECONDS) -> Iterator[Callable[[], None]]:
        file = self._at(f"{_LOCKS}/{name}.lock")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            held = FileLock(file).acquire(timeout=wait_seconds)
        except Timeout:
            raise busy(self, name, wait_seconds) from None
        except OSError as error:
            raise _storage_error("lock", file, error) from error
        with held:
            yield lambda: None  # the kernel takes it from nobody who lives

    @override
    def now(self) -> datetime:
        return datetime.now(UTC)

    def _at(self, path: str) -> Path:
        target = (self._root / path).resolve()
        if not target.is_relative_to(self._root):
            raise StorageError(f"path {path!r} leaves the lake {self._root}")
        return target

    @contextlib.contextmanager
    def _staged(self, path: str, data: bytes | None = None) -> Iterator[tuple[Path, Path]]:
        """A file to write, with `data` in it already, and the place that it is for."""
        target = self._at(path)
        staged = self._root / _STAGING / uuid.uuid4().hex
        try:
            self._sweep(staged.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            if data is not None:
                staged.write_bytes(data)
                _sync(staged)
            yield staged, target
            _sync(target.parent)
        except OSError as error:
            raise _storage_error("write", target, error) from error
        finally:
            with contextlib.suppress(OSError):
                staged.unlink(missing_ok=True)

    def _sweep(self, folder: Path) -> None:
        """Remove what killed processes left; once for each lake object."""
        folder.mkdir(parents=True, exist_ok=True)
        if self._swept:
            return
        self._swept = True
        for file in folder.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_ctime > _STALE_SECONDS:  # a link changes ctime, so ours are young
                    file.unlink()


def _sync(path: Path) -> None:
    """Have the disk hold a file's bytes, or a folder's names, before what refers to them is written."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storage_error(what: str, target: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot {what} {target}: {error.strerror or error}",
        remedy="Free some space or mend the permissions, then run again.",
    )
