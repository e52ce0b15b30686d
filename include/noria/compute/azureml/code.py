"""The code snapshot of a job: what `python -m noria.jobs.<name>` needs, laid out as in the checkout."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from noria.settings import CHECKOUT

FOLDERS = ("include/noria", "spark_jobs")
"""What a job's code is, and what `noria.workspace.code_hash` looks at."""


@contextlib.contextmanager
def code_snapshot() -> Iterator[Path]:
    """A folder with the code and nothing else, for the SDK to hash and, where the hash is new to the workspace, upload.

    No file of the user's and no cache is in it, so that the same code has the same hash on every machine.
    """
    with tempfile.TemporaryDirectory(prefix="noria-code-") as temporary:
        folder = Path(temporary) / "code"
        for name in FOLDERS:
            ignored = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(CHECKOUT / name, folder / name, ignore=ignored)
        yield folder
