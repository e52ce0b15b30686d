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

from noria.costs import focus
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


def told(workspace: Workspace) -> list[tuple[Any, ...]]:
    """Pipeline, run and cost of each row."""
    rows = (row for batch in query_days(workspace, [DAY]) for row in batch.to_pylist())
    return [(row[focus.PIPELINE], row[focus.RUN], row["BilledCost"]) for row in rows]


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


@pytest.mark.parametrize("exact", [False, True])
def test_a_tag_in_two_spellings_is_one_pipeline(exact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the service's filter tells them apart or not."""
    tagged = {"Students": ("r1", "EUR", 10.1), "students": ("r2", "EUR", 5.2), "bikes": ("", "EUR", 1)}

    def query(definition: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if "filter" not in definition["dataset"]:
            yield charges(*((tag, *line[1:]) for tag, line in tagged.items()))
            return
        wanted: list[str] = definition["dataset"]["filter"]["tags"]["values"]
        folded = {value.lower() for value in wanted}
        yield charges(*(line for tag, line in tagged.items() if (tag in wanted if exact else tag.lower() in folded)))

    assert told(answered_by(query, tmp_path, monkeypatch)) == [
        ("bikes", None, 1),
        ("students", "r1", Decimal("10.1")),
        ("students", "r2", Decimal("5.2")),
    ]


@pytest.mark.parametrize(("by_run", "runs"), [(15.3, True), (15.300000000000001, True), (30.6, False), (15.29, False)])
def test_runs_are_told_only_where_they_add_up_to_their_pipeline(
    by_run: float, runs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def query(definition: dict[str, Any]) -> Iterator[dict[str, Any]]:
        other = ("r2" if "filter" in definition["dataset"] else "students", "USD", 1)
        yield charges(("r1", "EUR", by_run) if "filter" in definition["dataset"] else ("students", "EUR", 15.3), other)

    found = told(answered_by(query, tmp_path, monkeypatch))
    assert [run for _, run, _ in found] == (["r1", "r2"] if runs else [None, None])
    assert found[0][2] == (Decimal(str(by_run)) if runs else Decimal("15.3"))
