"""Which days are asked for again; the service itself is tried on the twin."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from noria.costs.cost_management import ingest_queried, query_days
from noria.costs.table import open_costs
from noria.errors import NoriaError
from noria.settings import Settings
from noria.workspace import Workspace

DAY = date(2026, 11, 10)
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
COLUMNS = [{"name": name} for name in ("UsageDate", "ResourceId", "TagValue", "Currency", "totalCost")]
Query = Callable[[dict[str, Any]], Iterator[dict[str, Any]]]


def answered_by(query: Query, home: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    client = SimpleNamespace(query=query, resource="the service")
    monkeypatch.setattr("noria.costs.cost_management.query.open_client", lambda _: client)
    return Workspace.open(Settings.from_env({}, home=home))


def charges(*lines: tuple[str, str, Any]) -> dict[str, Any]:
    """A page: tag, currency and cost of each line."""
    return {"columns": COLUMNS, "rows": [[20261110, "vaults/v", *line] for line in lines]}


def test_that_nothing_was_charged_is_an_answer_once_charges_cannot_be_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def query(definition: dict[str, Any]) -> Iterator[dict[str, Any]]:
        asked.append(definition["timePeriod"]["from"])
        yield {"columns": COLUMNS}

    workspace = answered_by(query, tmp_path, monkeypatch)

    def night(days_later: int) -> list[date]:
        now = NOON + timedelta(days=days_later)
        return ingest_queried(dataclasses.replace(workspace, clock=lambda: now), [DAY])

    assert night(3) == [] and open_costs(workspace).invoiced_days() == {}, "its charges may come still"
    assert night(4) == [DAY]
    assert night(5) == [] and len(asked) == 2, "it is not asked for again"


def test_amounts_have_as_many_places_as_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A double has more where it is small: 1.2345678901234567e-05 has 21."""
    amounts = [1.2345678901234567e-05, 12345678901.25, -3, "0.10"]
    page = charges(*(("", " eur", amount) for amount in amounts))
    workspace = answered_by(lambda _: iter([page]), tmp_path, monkeypatch)
    assert [
        (row["BillingCurrency"], row["BilledCost"])
        for batch in query_days(workspace, [DAY])
        for row in batch.to_pylist()
    ] == [("EUR", Decimal(amount)) for amount in ("0.000012345678901235", "12345678901.25", "-3", "0.1")]


@pytest.mark.parametrize("cost", [None, "much", float("nan"), float("inf"), 1e21])
def test_a_cost_that_is_none_is_told(cost: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = answered_by(lambda _: iter([charges(("", "EUR", cost))]), tmp_path, monkeypatch)
    with pytest.raises(NoriaError, match="an answer with a cost of "):
        list(query_days(workspace, [DAY]))
