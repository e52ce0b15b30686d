"""What a night tells of budgets and odd days, through the real outbox: each thing once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from noria.alerts.budgets import tell_night
from noria.alerts.letters import Letter
from noria.costs.sheet import load_sheet
from noria.pipeline import Pipeline, load_pipeline
from noria.settings import Settings
from noria.workspace import Workspace
from tests.support.charges import bill, write
from tests.support.spending import NOON, SHEET, past


class World:
    """A pipeline with a budget, and a clock."""

    def __init__(self, tmp_path: Path, now: datetime = NOON) -> None:
        self.sheet_file = tmp_path / "costs.yaml"
        self.sheet_file.write_text(SHEET)
        settings = Settings.from_env({"NORIA_COSTS": str(self.sheet_file)}, home=tmp_path / "home")
        self.lake = Workspace.open(settings).lake
        self.workspace = Workspace(settings, self.lake, clock=lambda: self.now)
        self.now = now

    def pipeline(self, budget: str, name: str = "students") -> Pipeline:
        overrides = {"budget": budget, "alerts": "{emails: [anna@example.org]}"}
        found = load_pipeline("students", self.workspace.settings.pipelines, overrides)
        return found.model_copy(update={"name": name})

    def tell(self, *pipelines: Pipeline) -> list[str]:
        return tell_night(self.workspace, pipelines, load_sheet(self.sheet_file), [])

    @property
    def letters(self) -> list[Letter]:
        paths = self.lake.list("outbox/arrived")
        return [Letter.model_validate_json(self.lake.read(path)) for path in paths]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_each_mark_is_told_once_and_the_highest_alone(world: World) -> None:
    bounded = world.pipeline("{per_month: 100}")
    past(world.workspace, 5)
    assert world.tell(bounded) == [], "one day of 5 makes no forecast"
    past(world.workspace, 80)
    assert world.tell(bounded) == ["[Noria warning] students: 85.00 EUR are spent, 85 % of the budget for 2026-03"]
    assert world.tell(bounded) == []
    past(world.workspace, 16)
    (subject,) = world.tell(bounded)
    assert subject == "[Noria error] students: 101.00 EUR are spent, 101 % of the budget for 2026-03"
    raised = world.pipeline("{per_month: 150}")
    assert "67 % of the budget" in "".join(world.tell(raised)), "another bound is told of anew"
    assert world.tell(bounded) == world.tell(raised) == []
    assert {letter.recipients for letter in world.letters} == {("anna@example.org",)}
    assert len({letter.alert.key(letter.recipients) for letter in world.letters}) == 3, "the outbox folds none"


def test_a_new_month_begins_anew_and_the_last_one_is_told_of_to_its_end(world: World) -> None:
    bounded = world.pipeline("{per_month: 100}")
    past(world.workspace, 55)
    assert len(world.tell(bounded)) == 1
    world.now = datetime(2026, 4, 1, 3, 30, tzinfo=NOON.tzinfo)
    past(world.workspace, 50, days_ago=0.5)
    assert world.tell(bounded)[0].endswith("105.00 EUR are spent, 105 % of the budget for 2026-03")


def test_a_forecast_is_told_with_its_interval(world: World) -> None:
    for day in range(1, 11):
        past(world.workspace, 3, days_ago=day)
    subjects = world.tell(world.pipeline("{per_month: 62, per_day: 3.5}"))
    assert subjects == [
        "[Noria warning] students: 3.00 EUR are spent, 86 % of the budget for 2026-03-19",
        "[Noria] students: 3.00 EUR will be spent by its end, 86 % of the budget for 2026-03-20",
        "[Noria warning] students: 66.00 EUR will be spent by its end, 106 % of the budget for 2026-03",
    ]
    details = " ".join(world.letters[-1].alert.details)
    assert "30.00 EUR of the month's 62.00 EUR are spent so far" in details and "in 8 of 10 cases" in details


def test_a_forecast_from_less_than_a_week_is_told_of_only_where_it_is_sure(world: World) -> None:
    past(world.workspace, 10, days_ago=1)
    weekly = world.pipeline("{per_month: 80}")
    assert world.tell(weekly) == [], "from one day it would be 10 for each that is left"
    for day in range(2, 6):
        past(world.workspace, 10, days_ago=day)
    spent, foreseen = world.tell(weekly)
    assert "50.00 EUR are spent" in spent and "170.00 EUR will be spent by its end" in foreseen


def test_what_nobody_wanted_to_hear_was_not_told(world: World) -> None:
    past(world.workspace, 55)
    bounded = world.pipeline("{per_month: 100}")

    def hearing(**alerts: object) -> Pipeline:
        return bounded.model_copy(update={"alerts": bounded.alerts.model_copy(update=alerts)})

    assert world.tell(hearing(emails=())) == world.tell(hearing(least_severity="error")) == []
    assert len(world.tell(bounded)) == len(world.letters) == 1
    assert world.tell(bounded) == []


def test_the_total_goes_to_whoever_gets_the_report(world: World) -> None:
    world.sheet_file.write_text(f"{SHEET}total: {{ per_day: 10 }}\nreport: {{ emails: [boss@example.org] }}\n")
    past(world.workspace, 6)
    past(world.workspace, 5, pipeline="others")
    (subject,) = world.tell(world.pipeline("{}"))
    assert subject == "[Noria error] costs: 11.00 EUR are spent, 110 % of the budget for 2026-03-20"
    assert world.letters[0].recipients == ("boss@example.org",)


def test_an_odd_day_is_told_once_with_what_it_comes_from(world: World) -> None:
    for day in range(2, 12):
        past(world.workspace, 10, days_ago=day)
        past(world.workspace, 1, days_ago=day, pipeline="others")
    past(world.workspace, 40, days_ago=1)
    known = (world.pipeline("{}"), world.pipeline("{}", "others"))
    assert world.tell(*known) == ["[Noria warning] students: 2026-03-19 cost 40.00 EUR, 30.00 EUR more than usual"]
    alert = world.letters[0].alert
    assert alert.rows[0] == ("train", "36.00 EUR", "9.00 EUR")
    assert world.tell(*known) == []


def test_charges_in_another_currency_are_mailed_once_a_month_and_noted_each_night(world: World) -> None:
    write(
        world.workspace, bill("Compute", "1", "1 Hour", "90", "students", BillingCurrency="CHF", day=date(2026, 3, 14))
    )
    past(world.workspace, 1)
    bounded = world.pipeline("{per_month: 10}")
    words = (
        "Charges of 90.00 CHF since 2026-03-14 are held against no budget and no usual day, all in EUR: "
        "a price sheet in their currency has them counted."
    )
    assert world.tell(bounded) == ["[Noria warning] costs: charges in CHF are held against no budget", words]
    write(
        world.workspace, bill("Compute", "1", "1 Hour", "5", "students", BillingCurrency="CHF", day=date(2026, 3, 15))
    )
    assert world.tell(bounded) == [words.replace("90.00", "95.00")]
    (letter,) = world.letters
    assert letter.alert.details == (words,)
    world.now = datetime(2026, 4, 3, 3, 30, tzinfo=NOON.tzinfo)
    assert world.tell() == [], "March is over"


def test_a_weekly_pipeline_is_not_odd_and_a_pause_is_told_of_once(world: World) -> None:
    for day in (8, 15, 22):
        past(world.workspace, 5, days_ago=day)
    past(world.workspace, 5, days_ago=1)
    for day in range(4, 30):
        past(world.workspace, 10, days_ago=day, pipeline="others")
    assert world.tell(world.pipeline("{}")) == []
    others = world.pipeline("{}", "others")
    assert world.tell(others) == [], "it was told of on the first day, three days ago"
    world.now -= timedelta(days=2)
    assert world.tell(others) == ["[Noria warning] others: 2026-03-17 cost 0 EUR, 10.00 EUR less than usual"]


def test_two_nights_at_once_tell_once(world: World) -> None:
    past(world.workspace, 100)
    bounded = world.pipeline("{per_month: 100}")
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: world.tell(bounded), range(4)))
    assert sum(map(len, told)) == len(world.letters) == 1


def test_a_night_that_is_killed_before_the_mail_is_kept_tells_it_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    past(world.workspace, 100)
    bounded = world.pipeline("{per_month: 100}")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("noria.alerts.budgets.post", killed)
        world.tell(bounded)
    assert len(world.tell(bounded)) == len(world.letters) == 1
