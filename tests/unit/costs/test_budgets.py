"""Whether a run may begin, with real usage files in a lake and the real price sheet's arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from noria.costs.budgets import BoundUse, judge_run, spent
from noria.costs.estimate import estimate_run
from noria.costs.metering import meter_days
from noria.costs.sheet import load_sheet
from noria.pipeline import Budget, budget_of
from noria.settings import Settings
from noria.workspace import Workspace
from tests.support.spending import NOON, SHEET, past

World = Callable[..., Workspace]


@pytest.fixture
def world(tmp_path: Path) -> World:
    def make(sheet: str = SHEET) -> Workspace:
        (tmp_path / "costs.yaml").write_text(sheet)
        settings = Settings.from_env({"NORIA_COSTS": str(tmp_path / "costs.yaml")}, home=tmp_path / "home")
        found = Workspace.open(settings)
        return Workspace(settings, found.lake, clock=lambda: NOON)

    return make


def test_an_estimate_is_of_runs_that_ended_well(world: World) -> None:
    workspace = world()
    for cost, days_ago in ((9, 40), (10, 2), (11, 1), (10, 0)):
        past(workspace, cost, days_ago=days_ago)
    past(workspace, 500, ended="failed")
    past(workspace, 500, pipeline="others")
    past(workspace, 500, days_ago=91)
    meter_days(workspace, load_sheet(workspace.settings.costs_file), [date(2026, 3, 18)])
    found = estimate_run(workspace.create_run("students"), workspace, load_sheet(workspace.settings.costs_file))
    assert found.runs == 3, "what was metered and not written before the last written day is caught up by a night"
    assert found.cost == pytest.approx(Decimal("10.32"), abs=Decimal("0.01")) and found.currency == "EUR"
    assert found.low is not None and found.high is not None
    assert 8 < found.low < found.cost < found.high < 13
    assert found.words.startswith("This run will cost about 10.32 EUR (") and "as the last 3 runs tell" in found.words


@pytest.mark.parametrize(("runs", "words"), [(0, "is unknown"), (1, "from 1 run only"), (2, "from 2 runs only")])
def test_few_runs_say_that_it_is_uncertain(world: World, runs: int, words: str) -> None:
    workspace = world()
    for _ in range(runs):
        past(workspace, 10)
    found = estimate_run(workspace.create_run("students"), workspace, load_sheet(workspace.settings.costs_file))
    assert words in found.words
    assert (found.cost, found.low, found.high) == ((Decimal(10), 5, 20) if runs else (None, None, None))


def test_a_longer_search_is_dearer(world: World) -> None:
    workspace = world()
    for _ in range(3):
        past(workspace, 10, tuning__trials="10")
    larger = workspace.create_run("students", overrides={"tuning.trials": "50"})
    found = estimate_run(larger, workspace, load_sheet(workspace.settings.costs_file))
    assert found.cost == Decimal("46"), "training, nine tenths of a run, five times"
    assert "by the trials of its search" in found.words


def test_spent_is_of_the_month_and_of_the_day_in_the_sheets_currency(world: World) -> None:
    workspace = world()
    sheet = load_sheet(workspace.settings.costs_file)
    for cost, days_ago in ((1, 25), (2, 19), (4, 1), (8, 0)):
        past(workspace, cost, days_ago=days_ago)
    past(workspace, 16, pipeline="others")
    meter_days(workspace, sheet, [NOON.date() - timedelta(days=d) for d in (25, 19, 1)])
    own, whole = (spent(workspace, sheet, name, NOON.date()) for name in ("students", None))
    assert (own.day, own.month) == (8, 14), "the first of March belongs to it, February does not"
    assert (whole.day, whole.month, whole.others) == (24, 30, ())
    dollars = load_sheet(world(SHEET.replace("EUR", "USD")).settings.costs_file)
    changed = spent(workspace, dollars, None, NOON.date())
    assert (changed.day, changed.month, changed.others) == (24, 24, ("EUR",)), "euros are no dollars"


@pytest.mark.parametrize(
    ("budget", "action", "words"),
    [
        ("{per_run: 10.5, per_day: 50, per_month: 60, when_exceeded: stop}", "within", ""),
        ("{per_run: 9, when_exceeded: stop}", "stop",
         "budget.per_run of students is 9.00 EUR: the run would cost 10.00 EUR with this run, 1.00 EUR more"),
        ("{per_day: 35, when_exceeded: approve}", "approve",
         "budget.per_day of students is 35.00 EUR: 30.00 EUR of it are spent, and the day (UTC) would cost 40.00 EUR"),
        ("{per_month: 35}", "warn", "budget.per_month of students is 35.00 EUR"),
    ],
)  # fmt: skip
def test_a_run_is_judged_by_its_estimate_and_what_is_spent(world: World, budget: str, action: str, words: str) -> None:
    workspace = world()
    for _ in range(3):
        past(workspace, 10)
    found = judge_run(workspace.create_run("students", overrides={"budget": budget}), workspace)
    assert found.action == action
    assert words in " ".join(found.sentences)
    assert found.may_begin == (action in ("within", "warn"))


def test_what_is_unknown_stops_nothing_unless_nothing_is_left(world: World) -> None:
    workspace = world()
    strict = {"budget": "{per_run: 0.01, per_day: 5, when_exceeded: stop}"}
    first = judge_run(workspace.create_run("students", overrides=strict), workspace)
    assert first.action == "within" and "is unknown" in first.sentences[0]
    past(workspace, 5, ended="failed")
    second = judge_run(workspace.create_run("students", overrides=strict), workspace)
    assert (second.action, [b.key for b in second.broken]) == ("stop", ["per_day"])
    said = str(second.refusal())
    assert "5.00 EUR of it are spent" in said and "No job has run. Raise the bound" in said


def test_a_bound_on_everything_warns(world: World) -> None:
    workspace = world(f"{SHEET}total: {{ per_day: 20 }}\n")
    past(workspace, 30, pipeline="others", ended="failed")
    found = judge_run(workspace.create_run("students"), workspace)
    assert found.action == "warn" and "total.per_day of the price sheet is 20.00 EUR" in found.sentences[1]


def test_a_run_may_not_loosen_its_folder() -> None:
    folder = Budget(per_day=5, when_exceeded="approve", approvers=("anna", "berta"), timeout_hours=4)
    run = Budget(per_run=1, per_day=500, approvers=("berta", "mallory"), timeout_hours=40)
    both = Budget(per_run=1, per_day=5, when_exceeded="approve", approvers=("berta",), timeout_hours=4)
    assert budget_of(run, folder) == budget_of(folder, run) == both
    assert budget_of(folder, Budget()) == folder


def test_the_exact_bound_is_kept() -> None:
    bound = BoundUse(pipeline="a", key="per_day", limit=Decimal(5), spent=Decimal(4), expected=Decimal(5))
    assert not bound.is_broken
