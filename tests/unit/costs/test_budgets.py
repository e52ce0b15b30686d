"""Whether a run may begin, with real usage files in a lake and the real price sheet's arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from noria.costs.budgets import Answer, BoundUse, Judgement, answer_run, deciding, find_judgement, judge_run, spent
from noria.costs.estimate import Estimate, estimate_run
from noria.costs.metering import meter_days
from noria.costs.sheet import load_sheet
from noria.costs.table import INVOICE, open_costs
from noria.pipeline import Budget, budget_of
from noria.records import Record, Run, StageRun, StoppedBy, Usage
from noria.settings import Settings
from noria.workspace import Workspace, run_path, to_json
from tests.support import story
from tests.support.charges import bill, table
from tests.support.spending import NOON, SHEET, past, spend

World = Callable[..., Workspace]


@pytest.fixture
def world(tmp_path: Path) -> World:
    def make(sheet: str = SHEET) -> Workspace:
        (tmp_path / "costs.yaml").write_text(sheet)
        settings = Settings.from_env({"NORIA_COSTS": str(tmp_path / "costs.yaml")}, home=tmp_path / "home")
        found = Workspace.open(settings)
        return Workspace(settings, found.lake, clock=lambda: NOON)

    return make


def done(workspace: Workspace, run: Run, stage: str, record: Record, usage: Usage) -> None:
    envelope = StageRun(
        pipeline=run.pipeline.name,
        run_id=run.run_id,
        stage=stage,
        started_at=NOON,
        finished_at=NOON,
        usage=usage,
        record=record.model_dump(mode="json"),
    )
    workspace.lake.create(run_path(run.pipeline.name, run.run_id, stage), to_json(envelope))


def test_an_estimate_is_of_runs_that_ended_well(world: World) -> None:
    workspace = world()
    for cost, days_ago in ((9, 40), (10, 2), (11, 1), (10, 0)):
        past(workspace, cost, days_ago=days_ago)
    past(workspace, 500, ended="failed")
    past(workspace, 500, pipeline="others")
    past(workspace, 500, days_ago=91)
    meter_days(workspace, load_sheet(workspace.settings.costs_file), [date(2026, 3, 18)])
    found = estimate_run(workspace.create_run("students"), workspace, load_sheet(workspace.settings.costs_file))
    assert found.runs == 4, "one of them on a day that no night has written, before one that stands"
    assert found.cost == pytest.approx(Decimal("9.97"), abs=Decimal("0.01")) and found.currency == "EUR"
    assert found.low is not None and found.high is not None
    assert 8 < found.low < found.cost < found.high < 13
    assert found.words.startswith("This run will cost about 9.97 EUR (") and "as the last 4 runs tell" in found.words


@pytest.mark.parametrize(("runs", "words"), [(0, "is unknown"), (1, "from 1 run only"), (2, "from 2 runs only")])
def test_few_runs_say_that_it_is_uncertain(world: World, runs: int, words: str) -> None:
    workspace = world()
    for _ in range(runs):
        past(workspace, 10)
    found = estimate_run(workspace.create_run("students"), workspace, load_sheet(workspace.settings.costs_file))
    assert words in found.words and "in 8 of 10 cases" not in found.words
    assert not runs or "about 10.00 EUR, perhaps 5.00 EUR to 20.00 EUR; that is uncertain" in found.words
    assert (found.cost, found.low, found.high) == ((Decimal(10), 5, 20) if runs else (None, None, None))


def test_a_longer_search_is_dearer(world: World) -> None:
    workspace = world()
    for _ in range(3):
        past(workspace, 10, tuning__trials="10")
    larger = workspace.create_run("students", overrides={"tuning.trials": "50"})
    found = estimate_run(larger, workspace, load_sheet(workspace.settings.costs_file))
    assert found.cost == Decimal("46"), "training, nine tenths of a run, five times"
    assert "by the trials and bounds of its search" in found.words


def test_what_is_not_search_costs_the_same_however_long_the_search(world: World) -> None:
    """Of 8100 seconds of training, of 9 euros, a third was search, which is five times as long now."""
    workspace = world()
    for _ in range(3):
        before = past(workspace, 10, tuning=str({"trials": 10, "timeout_seconds": 10800}))
        candidate = story.candidate(before.pipeline).model_copy(update={"search_seconds": 2700})
        usage = Usage(wall_seconds=8100, cpu_seconds=1, peak_rss_bytes=1, vcpu_seconds=32400)
        done(workspace, before, "train", candidate, usage)
    sheet = load_sheet(workspace.settings.costs_file)
    longer = workspace.create_run("students", overrides={"tuning": str({"trials": 50, "timeout_seconds": 1e6})})
    assert estimate_run(longer, workspace, sheet).cost == 1 + 6 + 5 * 3
    bounded = workspace.create_run("students", overrides={"tuning": str({"trials": 50, "timeout_seconds": 5400})})
    assert estimate_run(bounded, workspace, sheet).cost == 1 + 6 + 2 * 3


@pytest.mark.parametrize(
    ("then", "stopped_by", "now", "expected"),
    [
        ({"max_vcpu_seconds": "36000"}, None, {"max_vcpu_seconds": "36000"}, 11),  # 46 by its trials
        ({"max_vcpu_seconds": "3600"}, "cap", {"max_vcpu_seconds": "3600"}, 10),
        ({"max_vcpu_seconds": "3600"}, "cap", {"max_vcpu_seconds": "36000"}, 10),
        ({}, None, {"max_vcpu_seconds": "3600"}, 2),
        ({"timeout_seconds": "16200"}, None, {"timeout_seconds": "16200"}, 19),
        ({"timeout_seconds": "8100"}, "time", {"timeout_seconds": "8100"}, 10),
    ],
)
def test_a_longer_search_costs_no_more_than_its_bounds_allow(
    world: World, then: dict[str, str], stopped_by: StoppedBy | None, now: dict[str, str], expected: int
) -> None:
    """Three runs with 10 trials in 8100 seconds on 4 vCPUs, of 9 euros; this one has 50 trials."""
    workspace = world()
    for _ in range(3):
        before = past(workspace, 10, tuning=str({"trials": 10, "timeout_seconds": 1e6, **then}))
        candidate = story.candidate(before.pipeline).model_copy(update={"stopped_by": stopped_by})
        usage = Usage(wall_seconds=8100, cpu_seconds=1, peak_rss_bytes=1, vcpu_seconds=32400)
        done(workspace, before, "train", candidate, usage)
    larger = workspace.create_run("students", overrides={"tuning": str({"trials": 50, "timeout_seconds": 1e6, **now})})
    assert estimate_run(larger, workspace, load_sheet(workspace.settings.costs_file)).cost == expected


def test_an_estimate_is_by_the_prices_of_today(world: World) -> None:
    workspace = world()
    for _ in range(3):
        past(workspace, 10, days_ago=1)
    meter_days(workspace, load_sheet(workspace.settings.costs_file), [NOON.date() - timedelta(days=1)])
    sheet = load_sheet(world(SHEET.replace("EUR", "USD").replace("hour: 1", "hour: 0.5")).settings.costs_file)
    found = estimate_run(workspace.create_run("students"), workspace, sheet)
    assert (found.cost, found.currency, found.runs) == (5, "USD", 3)


def test_spent_is_of_the_month_and_of_the_day_in_the_sheets_currency(world: World) -> None:
    workspace = world()
    sheet = load_sheet(workspace.settings.costs_file)
    for cost, days_ago in ((1, 25), (2, 19), (4, 1), (8, 0)):
        past(workspace, cost, days_ago=days_ago)
    past(workspace, 16, pipeline="others")
    meter_days(workspace, sheet, [NOON.date() - timedelta(days=d) for d in (25, 19, 1)])
    own, whole = spent(workspace, sheet, ("students", None), NOON.date())
    assert (own.day, own.month) == (8, 14), "the first of March belongs to it, February does not"
    assert (whole.day, whole.month, whole.others) == (24, 30, ())
    dollars = load_sheet(world(SHEET.replace("EUR", "USD")).settings.costs_file)
    (changed,) = spent(workspace, dollars, (None,), NOON.date())
    assert (changed.day, changed.month, changed.others) == (24, 24, ("EUR",)), "euros are no dollars"


@pytest.mark.parametrize(
    ("charges", "own", "whole"),
    [
        ([bill("Clusters", "1", "1 Hour", "33", BillingCurrency="EUR")], 30, 49),
        ([bill("Clusters", "1", "1 Hour", "33", BillingCurrency="USD")], 30, 16),
        ([bill("Clusters", "1", "1 Hour", "7", "students", BillingCurrency="EUR")], 30, 23),
        ([bill("Clusters", "1", "1 Hour", "33", "students", BillingCurrency="EUR")], 33, 49),
        ([], 30, 16),
    ],
)
def test_an_invoice_that_names_no_pipeline_leaves_it_what_was_metered(
    world: World, charges: list[dict[str, Any]], own: int, whole: int
) -> None:
    """That of yesterday; the others' 16 of the day before are not invoiced."""
    workspace = world()
    sheet, day = load_sheet(workspace.settings.costs_file), NOON.date() - timedelta(days=1)
    past(workspace, 30, days_ago=1)
    past(workspace, 16, days_ago=2, pipeline="others")
    meter_days(workspace, sheet, [day, day - timedelta(days=1)])
    rows = table(*(row | {"x_ChargeDay": day.isoformat()} for row in charges)).to_batches()
    open_costs(workspace).replace_days([day], rows, origin=INVOICE, submitted_at=NOON, reason="a test")
    assert [s.month for s in spent(workspace, sheet, ("students", None), NOON.date())] == [own, whole]
    assert spent(workspace, sheet, ("students",), day)[0].day == own


def test_an_invoice_of_a_day_that_no_night_has_metered(world: World) -> None:
    workspace = world()
    past(workspace, 30, days_ago=1)
    day = NOON.date() - timedelta(days=1)
    open_costs(workspace).replace_days([day], [], origin=INVOICE, submitted_at=NOON, reason="a test")
    sheet = load_sheet(workspace.settings.costs_file)
    assert [s.month for s in spent(workspace, sheet, ("students", None), NOON.date())] == [30, 0]


@pytest.mark.parametrize(
    ("budget", "action", "words"),
    [
        ("{per_run: 10.5, per_day: 50, per_month: 60, when_exceeded: stop}", "within", ""),
        ("{per_run: 9, when_exceeded: stop}", "stop",
         "budget.per_run of students is 9.00 EUR: the run would cost 10.00 EUR, 1.00 EUR more than that."),
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


@pytest.mark.parametrize(
    ("own", "total", "action"),
    [
        ("{}", "", "warn"),
        ("{}", ", when_exceeded: stop", "stop"),
        ("{per_run: 1, when_exceeded: approve}", ", when_exceeded: stop", "stop"),
        ("{per_run: 1, when_exceeded: approve}", "", "approve"),
        ("{per_run: 90, when_exceeded: stop}", ", when_exceeded: approve", "approve"),
    ],
)
def test_the_strictest_of_the_budgets_that_are_broken_holds(world: World, own: str, total: str, action: str) -> None:
    workspace = world(f"{SHEET}total: {{ per_day: 20 {total} }}\n")
    past(workspace, 10)
    past(workspace, 30, pipeline="others", ended="failed")
    found = judge_run(workspace.create_run("students", overrides={"budget": own}), workspace)
    assert found.action == action and "total.per_day of the price sheet is 20.00 EUR" in " ".join(found.sentences)


def test_those_are_asked_whom_the_broken_budgets_name(world: World) -> None:
    total = "when_exceeded: approve, approvers: [berta, carla], timeout_hours: 4"
    workspace = world(f"{SHEET}total: {{ per_day: 20, {total} }}\n")
    past(workspace, 30)

    def asked(own: str) -> tuple[tuple[str, ...], float]:
        run = workspace.create_run("students", overrides={"budget": own})
        budget = deciding(judge_run(run, workspace), run, workspace)
        return budget.approvers, budget.timeout_hours

    approve = "when_exceeded: approve, approvers: [anna, berta], timeout_hours: 9"
    assert asked(f"{{per_run: 90, {approve}}}") == (("berta", "carla"), 4)
    assert asked(f"{{per_run: 9, {approve}}}") == (("berta",), 4), "both have to agree"
    assert asked("{per_run: 9, approvers: [anna]}") == (("berta", "carla"), 4), "its own budget only warns"
    workspace.settings.costs_file.write_text(SHEET)
    assert asked(f"{{per_run: 9, {approve}}}") == (("anna", "berta"), 9)


@pytest.mark.parametrize(
    ("budget", "action", "sentence"),
    [
        ("{per_run: 1, when_exceeded: stop}", "within",
         "budget.per_run of students could not be judged in full, which stops nothing by itself."),
        ("{per_run: 0.4, when_exceeded: stop}", "stop",
         "budget.per_run of students is 0.40 EUR: the run would cost 0.50 EUR, 0.10 EUR more than that."),
    ],
)  # fmt: skip
def test_what_has_no_price_is_said_and_the_rest_is_judged(
    world: World, budget: str, action: str, sentence: str
) -> None:
    """Their trainings, of 9 euros, ran on a machine that the price sheet does not know."""
    workspace = world(SHEET.replace("local:", "azureml/Small:"))
    for _ in range(3):
        past(workspace, 10, machines={"train": "azureml/Large", "ingest": "azureml/small", "promote": "azureml/none"})
    run = workspace.create_run("students", overrides={"budget": budget})
    found = judge_run(run, workspace)
    assert (found.action, found.estimate.cost) == (action, Decimal("0.5"))
    words, *rest = found.sentences
    assert words == (
        "What this run will cost is not known in full: no price for azureml/Large, azureml/none in the price sheet. "
        "The rest of it will cost about 0.50 EUR (0.50 EUR to 0.50 EUR in 8 of 10 cases), as the last 3 runs tell."
    )
    assert rest == [sentence]
    assert [bound.key for bound in found.unjudged] == (["per_run"] if action == "within" else [])


def test_an_estimate_of_which_nothing_has_a_price_is_unknown(world: World) -> None:
    workspace = world(SHEET.replace("local:", "synapse:"))
    past(workspace, 10)
    strict = {"budget": "{per_run: 1, per_day: 5, when_exceeded: stop}"}
    found = judge_run(workspace.create_run("students", overrides=strict), workspace)
    assert found.action == "within"
    assert found.sentences == (
        "What this run will cost is unknown: no price for local in the price sheet.",
        "budget.per_run of students, budget.per_day of students could not be judged in full, which stops nothing by "
        "itself.",
    )


@pytest.mark.parametrize(
    ("budget", "advice"),
    [
        ("per_run: 9, per_day: 35", "start a new one."),
        ("per_day: 9", "start a new one."),
        ("per_day: 35", "start a new one; or wait until the day is over."),
        ("per_day: 35, per_month: 39", "start a new one; or wait until the month is over."),
    ],
)
def test_to_wait_is_advised_where_it_helps(world: World, budget: str, advice: str) -> None:
    workspace = world()
    for _ in range(3):
        past(workspace, 10)
    run = workspace.create_run("students", overrides={"budget": f"{{{budget}, when_exceeded: stop}}"})
    assert str(judge_run(run, workspace).refusal()).endswith(advice)


def test_runs_under_way_are_held_until_they_end(world: World) -> None:
    workspace = world(f"{SHEET}total: {{ per_day: 15, when_exceeded: stop }}\n")
    for _ in range(3):
        past(workspace, 10, days_ago=2)

    def judged(**budget: str) -> tuple[Run, Judgement]:
        run = workspace.create_run("students", overrides=budget)
        return run, judge_run(run, workspace)

    first, found = judged()
    assert found.action == "within" and judge_run(first, workspace).action == "within", "it is not in its own way"
    _, second = judged()
    assert second.action == "stop"
    assert "0 EUR of it are spent, 10.00 EUR are held for other runs under way, and" in second.sentences[1]
    assert "would cost 20.00 EUR with this run, 5.00 EUR more" in second.sentences[1]
    _, own = judged(budget="{per_day: 15}")
    assert [b.pipeline for b in own.broken] == ["students", None], "one that was stopped holds nothing"

    spend(workspace, first, 4)
    assert [(b.spent, b.held) for b in judged()[1].bounds] == [(4, 6)], "what it has used is no longer held"
    workspace.lake.create(run_path("students", first.run_id, "report"), b"{}")
    assert [(b.spent, b.held) for b in judged()[1].bounds] == [(4, 0)]
    assert judged()[1].action == "stop", "that one may begin, and is held"
    (held,) = workspace.lake.list("budgets/held")
    later = replace(workspace, clock=lambda: NOON + timedelta(days=1, seconds=1))
    last = judge_run(workspace.create_run("students"), later)
    assert [b.held for b in last.bounds] == [0], "one that has left no report for a day was killed"
    assert held not in workspace.lake.list("budgets/held")


def test_of_runs_that_begin_at_once_those_are_let_through_that_there_is_money_for(world: World) -> None:
    workspace = world(f"{SHEET}total: {{ per_day: 25, when_exceeded: stop }}\n")
    for _ in range(3):
        past(workspace, 10, days_ago=2)
    runs = [workspace.create_run("students") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        actions = [found.action for found in pool.map(lambda run: judge_run(run, workspace), runs)]
    assert sorted(actions) == ["stop", "stop", "within", "within"]


TOTAL = "total: {{ per_day: 100, when_exceeded: {} }}\n"


@pytest.mark.parametrize(
    ("sheet", "spent", "action", "said"),
    [
        ("", 0, "approve", ""),
        ("", 0.004, "approve", ""),
        ("", 0.5, "approve",
         "Approved by anna: the fair, but more would be exceeded by now than was asked about (budget.per_day of "
         "students). No job has run. Raise the bound or make the run smaller (tuning.trials), and start a new one, or "
         "let it be asked about again; or wait until the day is over."),
        (TOTAL.format("stop"), 90, "stop", "Approved by anna: the fair, but by now it is to be stopped."),
        (TOTAL.format("warn"), 90, "approve", "(budget.per_day of students, total.per_day of the price sheet)"),
        (SHEET.replace("hour: 1", "hour: 0.5"), 0, "within", ""),
        (SHEET.replace("EUR", "USD"), 0, "approve", "more would be exceeded by now"),
    ],
)  # fmt: skip
def test_a_yes_is_to_no_more_than_was_asked(world: World, sheet: str, spent: float, action: str, said: str) -> None:
    """It would exceed by 5 euros. Then others spend, or the price sheet changes, before somebody says yes."""
    workspace = world()
    for _ in range(3):
        past(workspace, 10)
    run = workspace.create_run("students", overrides={"budget": "{per_day: 35, when_exceeded: approve}"})
    asked = judge_run(run, workspace)
    workspace.settings.costs_file.write_text(sheet if "currency" in sheet else SHEET + sheet)
    past(workspace, spent, ended="failed")
    found = answer_run(asked, Answer(approved=True, by="anna", reason="the fair", at=NOON), run, workspace)
    assert (found.action, found.may_begin) == (action, not said)
    assert not said or said in str(found.refusal())
    assert find_judgement(run, workspace) == found and found.answer and found.answer.by == "anna"
    assert len(list(workspace.lake.list("budgets/held"))) == found.may_begin


def test_of_several_who_wait_each_yes_is_judged_with_those_before(world: World) -> None:
    workspace = world()
    for _ in range(3):
        past(workspace, 10)
    budget = {"budget": "{per_day: 35, when_exceeded: approve}"}
    waiting = [
        (run, judge_run(run, workspace)) for run in (workspace.create_run("students", overrides=budget) for _ in "ab")
    ]
    yes = Answer(approved=True, by="anna", reason="the fair", at=NOON)
    found = [answer_run(asked, yes, run, workspace) for run, asked in waiting]
    assert [now.may_begin for now in found] == [True, False]
    assert "15.00 EUR more than that" in str(found[1].refusal())


def test_the_day_is_the_one_on_which_it_is_judged(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate, and waiting for others, take their time: it is midnight, and the month is over."""
    clock = [datetime(2026, 3, 31, 23, 59, tzinfo=UTC)]
    workspace = replace(world(), clock=lambda: clock[0])
    past(workspace, 95)

    def slow(*arguments: Any) -> Estimate:
        found = estimate_run(*arguments)
        clock[0] += timedelta(minutes=2)
        return found

    monkeypatch.setattr("noria.costs.budgets.estimate_run", slow)
    strict = {"budget": "{per_month: 100, when_exceeded: stop}"}
    found = judge_run(workspace.create_run("students", overrides=strict), workspace)
    assert (found.action, found.bounds[0].spent, found.judged_at.day) == ("within", 0, 1)


def test_a_run_may_not_loosen_its_folder() -> None:
    folder = Budget(per_day=5, when_exceeded="approve", approvers=("anna", "berta"), timeout_hours=4)
    run = Budget(per_run=1, per_day=500, approvers=("berta", "mallory"), timeout_hours=40)
    both = Budget(per_run=1, per_day=5, when_exceeded="approve", approvers=("berta",), timeout_hours=4)
    assert budget_of(run, folder) == budget_of(folder, run) == both
    assert budget_of(folder, Budget()) == folder


def test_the_exact_bound_is_kept() -> None:
    bound = BoundUse(pipeline="a", key="per_day", limit=Decimal(5), spent=Decimal(4), expected=Decimal(5))
    assert not bound.is_broken
