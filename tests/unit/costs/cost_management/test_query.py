"""Which days are asked for again; the service itself is tried on the twin."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from noria.costs.cost_management import ingest_queried
from noria.costs.table import open_costs
from noria.settings import Settings
from noria.workspace import Workspace

DAY = date(2026, 11, 10)
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)


def test_that_nothing_was_charged_is_an_answer_once_charges_cannot_be_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def query(definition: dict[str, Any]) -> Iterator[dict[str, Any]]:
        asked.append(definition["timePeriod"]["from"])
        yield {"columns": [{"name": n} for n in ("UsageDate", "ResourceId", "TagValue", "Currency", "totalCost")]}

    client = SimpleNamespace(query=query)
    monkeypatch.setattr("noria.costs.cost_management.query.open_client", lambda _: client)
    workspace = Workspace.open(Settings.from_env({}, home=tmp_path))

    def night(days_later: int) -> list[date]:
        now = NOON + timedelta(days=days_later)
        return ingest_queried(dataclasses.replace(workspace, clock=lambda: now), [DAY])

    assert night(3) == [] and open_costs(workspace).invoiced_days() == {}, "its charges may come still"
    assert night(4) == [DAY]
    assert night(5) == [] and len(asked) == 2, "it is not asked for again"
