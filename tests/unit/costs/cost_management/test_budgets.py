"""Names of budgets, and what is mended; what is sent is tried on the twin."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from noria.costs.cost_management import sync_budgets
from noria.costs.cost_management.budgets import TOTAL, budget_name
from noria.costs.sheet import PriceSheet
from noria.pipeline.schema import MAX_NAME
from noria.settings import Settings
from noria.workspace import Workspace
from tests.support.pipelines import students


def test_names_fit_azure_and_stay_apart() -> None:
    longest = ["a" * MAX_NAME, "a" * (MAX_NAME - 1) + "b"]
    names = [budget_name(name) for name in ("students", "a_b", *longest)]
    assert names[:2] == ["noria-pipeline-students", "noria-pipeline-a_b"]
    assert len(set(names)) == 4 and all(len(name) <= 63 for name in names)


def test_a_budget_that_somebody_has_narrowed_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, dict[str, Any]] = {}

    def put(name: str, body: dict[str, Any]) -> None:
        kept[name] = {"name": name, **body}

    client = SimpleNamespace(budgets=lambda: list(kept.values()), put_budget=put)
    monkeypatch.setattr("noria.costs.cost_management.budgets.open_client", lambda _: client)
    workspace = dataclasses.replace(
        Workspace.open(Settings.from_env({}, home=tmp_path)), clock=lambda: datetime(2026, 11, 21, tzinfo=UTC)
    )
    own = students(budget={"per_month": 50}, alerts={"emails": ["a@example.org"]})
    sheet = PriceSheet.model_validate({"currency": "EUR", "total": {"per_month": 100}})

    def filters() -> list[Any]:
        return [kept[name]["properties"].get("filter") for name in (TOTAL, budget_name("students"))]

    assert len(sync_budgets(workspace, [own], sheet)) == 2
    (_, tagged), narrowed = filters(), {"name": "ResourceGroupName", "operator": "In", "values": ["tiny"]}
    kept[TOTAL]["properties"]["filter"] = {"and": None, "dimensions": {}}  # says nothing
    assert sync_budgets(workspace, [own], sheet) == []
    kept[TOTAL]["properties"]["filter"] = {"dimensions": narrowed}
    kept[budget_name("students")]["properties"]["filter"] = {**tagged, "dimensions": narrowed}
    assert len(sync_budgets(workspace, [own], sheet)) == 2
    assert filters() == [None, tagged]
