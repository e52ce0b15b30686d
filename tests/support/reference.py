"""Real files for tests alone; the project may not ship them, so tests skip where they are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"


def reference(name: str) -> Path:
    """A file of the reference data folder beside the checkout; skips the test if it is not there."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"reference data {name} is not in {FOLDER}")
    return path
