"""Temporary folders on local disk that vanish with their owner, or by the next run if the owner was killed."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from noria.errors import StorageError

_LOCK = ".owner.lock"


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A new folder below `parent`, removed at the end; what killed processes left there is removed as well.

    Raises:
        StorageError: The disk is full or `parent` cannot be written; any OSError inside the context counts as that.
    """
    try:
        with _held_folder(parent) as folder:
            yield folder
    except OSError as error:
        raise unwritable(parent, error) from error


@contextlib.contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """Like `scratch`, but an OSError inside the context is whatever it is there.

    Raises:
        StorageError: The folder cannot be made.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(_held_folder(parent))
        except OSError as error:
            raise unwritable(parent, error) from error
        yield folder


def unwritable(parent: Path, error: OSError) -> StorageError:
    """What a full disk, or one that cannot be written, raises."""
    return StorageError(
        f"cannot write below {parent}: {error.strerror or error}",
        remedy="Free some space, mend the permissions, or choose another place with NORIA_HOME.",
    )


@contextlib.contextmanager
def _held_folder(parent: Path) -> Iterator[Path]:
    _sweep(parent)
    folder, lock = _own_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _own_folder(parent: Path) -> tuple[Path, BaseFileLock]:
    """A new folder and its lock, held. Who sweeps between the lock's file and its lock takes it for one left behind."""
    while True:
        folder = parent / uuid.uuid4().hex
        folder.mkdir(parents=True)
        lock = FileLock(folder / _LOCK)
        try:
            lock.acquire()
        except OSError:
            if folder.exists():
                raise
            continue
        if (folder / _LOCK).exists():
            return folder, lock
        lock.release()


def _sweep(parent: Path) -> None:
    for lock_file in parent.glob(f"*/{_LOCK}"):
        with contextlib.suppress(Timeout, OSError), FileLock(lock_file, blocking=False):
            shutil.rmtree(lock_file.parent, ignore_errors=True)
