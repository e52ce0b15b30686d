"""A workspace with a real, empty registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from noria.workspace import Workspace
from tests.support.mlflow_schema import remember_newest_schema
from tests.support.proposals import empty_registry, open_workspace


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry's database that knows nothing."""
    remember_newest_schema()
    return empty_registry(tmp_path_factory)


@pytest.fixture
def workspace(tmp_path: Path, database: Path) -> Workspace:
    """With the pipeline `pupils`, whose policy is the default one."""
    return open_workspace(tmp_path / "home", database)


@pytest.fixture(autouse=True)
def few_single_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judging asks a model for rows one by one, which is tested beside it and is a third of these tests' time."""
    monkeypatch.setattr("noria.models.answers._SINGLE_ROWS", 3)
