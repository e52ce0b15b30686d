"""Whether there is room for a measurement."""

from __future__ import annotations

import shutil
from pathlib import Path

from noria.errors import StorageError


def check_disk(folder: Path, needed: int, option: str) -> None:
    """See that a folder's disk has room.

    Args:
        folder: Where the measurement works.
        needed: Bytes.
        option: The one that makes it need less.

    Raises:
        StorageError: It has not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{free / 1e9:.1f} GB free at {folder}",
            expected=f"{needed / 1e9:.1f} GB",
            remedy=f"Choose another disk with NORIA_HOME, or a smaller {option}.",
        )
