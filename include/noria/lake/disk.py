"""The lake on local disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import override

from noria.errors import StorageError
from noria.lake.base import Lake


class DiskLake(Lake):
    """Files below one folder; documents appear whole because they are linked into place."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    @property
    @override
    def root(self) -> str:
        return str(self._root)

    @override
    def exists(self, path: str) -> bool:
        return self._at(path).is_file()

    @override
    def read(self, path: str) -> bytes:
        return self._at(path).read_bytes()

    @override
    def create(self, path: str, data: bytes) -> bool:
        with self._staged(path) as staged:
            staged.write_bytes(data)
            try:
                os.link(staged, self._at(path))
            except FileExistsError:
                return False
        return True

    @override
    def replace(self, path: str, data: bytes) -> None:
        with self._staged(path) as staged:
            staged.write_bytes(data)
            staged.replace(self._at(path))

    @override
    def put(self, local: Path, path: str) -> None:
        with self._staged(path) as staged:
            try:
                os.link(local, staged)
            except OSError:
                shutil.copyfile(local, staged)
            staged.replace(self._at(path))

    @override
    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[Path]:
        yield self._at(path)

    @override
    def list(self, folder: str) -> Iterator[str]:
        base = self._at(folder)
        for file in sorted(base.rglob("*")):
            if file.is_file() and not file.name.startswith(".staged-"):
                yield file.relative_to(self._root).as_posix()

    @override
    def remove(self, path: str) -> None:
        target = self._at(path)
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def _at(self, path: str) -> Path:
        target = (self._root / path).resolve()
        if not target.is_relative_to(self._root):
            raise StorageError(f"path {path!r} leaves the lake {self._root}")
        return target

    @contextlib.contextmanager
    def _staged(self, path: str) -> Iterator[Path]:
        target = self._at(path)
        staged = target.parent / f".staged-{uuid.uuid4().hex}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield staged
        except OSError as error:
            raise StorageError(
                f"cannot write {target}: {error.strerror}",
                remedy="Free some space or mend the permissions, then run again.",
            ) from error
        finally:
            with contextlib.suppress(OSError):
                staged.unlink(missing_ok=True)
