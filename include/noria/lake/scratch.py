"""Temporary folders on local disk that vanish with their owner, or by the next run if the owner was killed."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from noria.errors import StorageError

_LOCK = ".owner.lock"


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A new folder below `parent`, removed at the end; what killed processes left there is removed as well.

    Raises:
        StorageError: The disk is full or `parent` cannot be written; any OSError inside the context counts as that.
    """
    try:
        _sweep(parent)
        folder = parent / uuid.uuid4().hex
        folder.mkdir(parents=True)
        lock = FileLock(folder / _LOCK)
        with lock:
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"cannot write below {parent}: {error.strerror or error}",
            remedy="Free some space, mend the permissions, or choose another place with NORIA_HOME.",
        ) from error


def _sweep(parent: Path) -> None:
    for lock_file in parent.glob(f"*/{_LOCK}"):
        with contextlib.suppress(Timeout, OSError), FileLock(lock_file, blocking=False):
            shutil.rmtree(lock_file.parent, ignore_errors=True)
