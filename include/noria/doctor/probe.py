"""Whether a lake can be written, wherever it is."""

from __future__ import annotations

import contextlib
import uuid

from noria.errors import StorageError
from noria.lake import Lake


def probe(lake: Lake) -> None:
    """Create, list, read and remove one small file.

    Raises:
        StorageError: The lake refuses, or does not hold what was written.
    """
    folder, said = f"doctor/{uuid.uuid4().hex}", b"noria doctor"
    path = f"{folder}/probe"
    try:
        lake.create(path, said)
        if lake.read(path) != said or list(lake.list(folder)) != [path]:
            raise StorageError(f"{lake.url(path)} does not hold what was written to it")
    except Exception:
        with contextlib.suppress(StorageError, OSError):  # the first error is the one to report
            lake.remove(folder)
        raise
    lake.remove(folder)
