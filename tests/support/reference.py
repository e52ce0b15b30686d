"""Real files for tests alone; the project may not ship them, so tests skip where they are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from noria.pipeline import SampleSource
from noria.settings import Settings
from noria.sources import open_source

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"


def reference(name: str) -> Path:
    """A file of the reference data folder beside the checkout; skips the test if it is not there."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"reference data {name} is not in {FOLDER}")
    return path


def write_students(file: Path) -> None:
    """The real file where it is at hand, else the sample that resembles it; its folder is made."""
    file.parent.mkdir(parents=True)
    try:
        file.write_bytes(reference("students_performance_kaggle.csv").read_bytes())
    except pytest.skip.Exception:
        open_source(SampleSource(rows=1000), Settings.from_env({}, home=file.parent)).fetch(file)
