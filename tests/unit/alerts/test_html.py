"""The HTML of each kind of mail, made from what brings it about: it parses, escapes names, and holds its figures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest

from noria.alerts import Alert, to_message
from noria.alerts.alert import KINDS
from noria.alerts.budgets import anomaly_alert, asking_alert, budget_alert
from noria.alerts.costs import report_alert
from noria.alerts.digest import digest_alert
from noria.alerts.failures import failure_alert
from noria.alerts.late import late_alert
from noria.alerts.letters import news_of
from noria.alerts.verdicts import rollback_alert, verdict_alert
from noria.costs.anomaly import Anomaly
from noria.costs.forecast import Forecast
from noria.costs.metering import meter_days
from noria.costs.notices import AnomalyNotice, BudgetNotice, Part
from noria.costs.sheet import load_sheet
from noria.costs.summary import summarise
from noria.errors import ExitCode
from noria.records import Rollback, Run
from noria.settings import Settings
from noria.workspace import Workspace
from tests.support.runs import candidate, decision, done, failed, judgement, rule, validation
from tests.support.spending import NOON, SHEET, past

NAME = '<b>it\'s</b> & "co"'
"""Of a column, a person or whatever else people name."""
DAY = date(2026, 3, 19)
LINKS = [("Run", 'http://127.0.0.1/runs/"><b>x</b>&a=1'), (NAME, "http://127.0.0.1/x")]
TEAM = ["team@example.org"]
VOID = ("meta", "br", "img", "hr", "link", "input")


class Page(HTMLParser):
    """What a reader sees, and where it can go; raises where a tag is not closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.links: list[str | None] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name == "href"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


class World:
    """A run and its workspace, from which all kinds of mails are made."""

    def __init__(self, home: Path) -> None:
        sheet = home / "costs.yaml"
        sheet.write_text(SHEET)
        settings = Settings.from_env({"NORIA_COSTS": str(sheet)}, home=home / "home")
        self.workspace = Workspace(settings, Workspace.open(settings).lake, clock=lambda: NOON)
        self._runs = 0

    def run(self) -> Run:
        self._runs += 1
        return self.workspace.create_run("students", f"r{self._runs}")

    def failed(self, stage: str, exit_code: int = 1) -> Alert:
        run = self.run()
        validation(run, self.workspace)
        failed(self.workspace, run, stage, f"1 of 2 columns, {NAME}, failed", exit_code=exit_code)
        return failure_alert("students", run.run_id, run, self.workspace, LINKS)

    def judged(self, verdict: str, **changes: object) -> Alert:
        run = self.run()
        done(self.workspace, run, "train", candidate(run))
        done(self.workspace, run, "promote", decision(verdict, **changes))
        alert = verdict_alert(run, self.workspace, LINKS)
        assert alert is not None
        return alert

    def report(self) -> Alert:
        past(self.workspace, 8.5, days_ago=1)
        meter_days(self.workspace, load_sheet(self.workspace.settings.costs_file), [DAY])
        return report_alert(summarise(self.workspace, DAY), LINKS)


def rolled_back(_: World) -> Alert:
    record = Rollback(
        pipeline="students", version="1", before="2", by=NAME, reason="wrong", at=NOON, verdict_id="f" * 32,
        run_id="r", metrics={"r2": 0.861}, champion_version="1",
    )  # fmt: skip
    return rollback_alert(record, LINKS)


def half_spent(_: World) -> Alert:
    forecast = Forecast(Decimal(62), Decimal(55), Decimal(70), 9)
    notice = BudgetNotice("students", "per_month", "2026-03", "spent", 50, Decimal(60), Decimal(31), forecast, "EUR")
    return budget_alert(notice, LINKS)


def odd_day(_: World) -> Alert:
    odd = Anomaly(DAY, Decimal(40), Decimal(10), (DAY - timedelta(days=1),), "the days before")
    return anomaly_alert(AnomalyNotice("students", odd, (Part(NAME, Decimal(36), Decimal(9)),), "EUR"), LINKS)


def late(world: World) -> Alert:
    run = world.run()
    queued = datetime(2026, 3, 2, 12, tzinfo=UTC)
    return late_alert("students", run.run_id, world.workspace, run=run, minutes=90, begun=queued, links=LINKS)


def digest(world: World) -> Alert:
    return digest_alert([news_of(alert, TEAM, NOON) for alert in (half_spent(world), world.failed("train"))])


MAILS: dict[str, tuple[Callable[[World], Alert], tuple[str, ...]]] = {
    "failed run": (lambda world: world.failed("train"), (f"1 of 2 columns, {NAME}, failed", "INFO line 29")),
    "failed validation": (
        lambda world: world.failed("validate", ExitCode.INVALID_DATA),
        ("expect_column_mean_to_be_between", "math_score", "40 to 90", "12.5"),
    ),
    "rejected candidate": (
        lambda world: world.judged("reject", rules=(rule("threshold", NAME),), reasons=(NAME,)),
        ("0.871", "0.861", "at least 0.8", NAME),
    ),
    "new champion": (lambda world: world.judged("promote"), ("version 3", "0.871", "0.861", "4.31")),
    "approval": (lambda world: asking_alert(world.run(), judgement("approve"), LINKS), ("10.00 EUR", "9.00 EUR")),
    "rollback": (rolled_back, ("0.861", "version 2", NAME)),
    "budget": (half_spent, ("31.00 EUR", "52 %", "60.00 EUR", "62.00 EUR (55.00 EUR to 70.00 EUR")),
    "cost anomaly": (odd_day, ("40.00 EUR", "30.00 EUR more", "36.00 EUR", "9.00 EUR", NAME)),
    "cost report": (lambda world: world.report(), ("8.50", "students")),
    "late run": (late, ("90 minutes", "2026-03-02 at 12:00 UTC")),
    "digest": (digest, ("digest of 2 causes", "31.00 EUR", "62.00 EUR", NAME)),
    "news": (
        lambda world: world.judged("keep", champion_metrics=None, rules=(rule("champion", NAME),)),
        (f"cannot be compared: {NAME}",),
    ),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("mails"))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_parses_escapes_names_and_holds_its_figures(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noria.alerts.verdicts._history", lambda *_: ((), ()))  # a registry takes a second to make
    make, figures = MAILS[kind]
    alert = make(world)
    assert alert.kind == kind
    plain, html = (str(part.get_content()) for part in to_message(alert, TEAM).iter_parts())
    page = Page(html)
    assert "b" not in page.tags
    for figure in figures:
        assert figure in page.text
        assert figure in " ".join(plain.split()), "in plain text too"
    assert LINKS[0][1] in page.links
    assert "{{" not in html and "None" not in page.text
