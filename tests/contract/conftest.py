"""A lake on every back end; what is tested over all of them names `lake`, `reopen`, `place` or `back_end`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from noria.azure import AzureConnection
from noria.lake import Lake, open_lake
from noria.lake.counted import CountedLake


@dataclass(frozen=True)
class Place:
    """Where a back end keeps the lake of a test."""

    url: str
    connection: AzureConnection | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


def disk(request: pytest.FixtureRequest, folder: Path) -> Place:
    return Place(str(folder / "lake"))


def abfs(request: pytest.FixtureRequest, folder: Path) -> Place:
    twin = request.getfixturevalue("twin_process")
    return Place(twin.lake_url(), twin.connection("adls_default"), twin.environment)


BACK_ENDS = {"disk": disk, "abfs": abfs}


@pytest.fixture(params=BACK_ENDS)
def back_end(request: pytest.FixtureRequest) -> str:
    if request.param == "abfs":
        request.getfixturevalue("twin")
    return str(request.param)


@pytest.fixture
def place(request: pytest.FixtureRequest, back_end: str, tmp_path: Path) -> Place:
    return BACK_ENDS[back_end](request, tmp_path)


@pytest.fixture
def reopen(place: Place, tmp_path: Path) -> Callable[[], Lake]:
    """Opens the same lake again and again, as processes after one another do."""
    return lambda: open_lake(place.url, place.connection, tmp_path / "tmp")


@pytest.fixture
def lake(reopen: Callable[[], Lake]) -> Lake:
    """As a stage is given it: counted."""
    return CountedLake(reopen())
