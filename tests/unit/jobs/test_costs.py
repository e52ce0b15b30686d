"""The steps of a night: what is missed is caught up, once more changes nothing, and a kill leaves a day old or new."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from noria.bench.costs_invoices import Month, deliver
from noria.costs.summary import summarise
from noria.costs.table import CostTable, open_costs, open_metered
from noria.costs.usage import keep_usage
from noria.errors import InputError
from noria.jobs import costs
from noria.jobs.costs import STEPS, StepRecord, days_to_do, work
from noria.lake.disk import DiskLake
from noria.records import JobUsage, Usage
from noria.settings import Settings
from noria.workspace import Workspace
from tests.support import focus as charges

SHEET = """
currency: USD
machines:
  local: { per_vcpu_hour: 0.36, source: a test, date: 2026-11-01 }
report:
  emails: [finance@example.org]
"""
TODAY = date(2026, 11, 21)
NOW = datetime(2026, 11, 21, 3, 30, tzinfo=UTC)
CONNECTION = '{"conn_type": "azure", "extra": {"scope": "/subscriptions/s"}}'
"""Enough to have deliveries taken in; nothing asks the service."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "costs.yaml").write_text(SHEET)
    return tmp_path / "home"


def open_workspace(home: Path, **environment: str) -> Workspace:
    settings = Settings.from_env({"NORIA_COSTS": str(home.parent / "costs.yaml"), **environment}, home=home)
    ticks = itertools.count()
    return dataclasses.replace(Workspace.open(settings), clock=lambda: NOW + timedelta(milliseconds=next(ticks)))


@pytest.fixture
def workspace(home: Path) -> Workspace:
    return open_workspace(home)


def use(workspace: Workspace, day: date, stage: str = "train") -> None:
    """Leave what a job of that day used: 100 vCPU-seconds cost a cent."""
    ended = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    usage = Usage(wall_seconds=50, cpu_seconds=60, peak_rss_bytes=1, vcpu_seconds=100)
    facts = {"pipeline": "students", "run_id": f"r{day:%d}", "stage": stage, "outcome": "done", "usage": usage}
    started = ended - timedelta(seconds=50)
    keep_usage(JobUsage.model_validate({**facts, "started_at": started, "finished_at": ended}), workspace.lake)


def do(step: str, workspace: Workspace, since: date | None = None, until: date | None = None) -> StepRecord:
    args = argparse.Namespace(step=step, since=since, until=until, page_url="http://127.0.0.1:8080/noria/costs")
    return StepRecord.model_validate_json(workspace.lake.read(work(args, workspace)))


def night(workspace: Workspace) -> None:
    for step in STEPS:
        do(step, workspace)


def before(days: int) -> date:
    return TODAY - timedelta(days=days)


def letters(workspace: Workspace) -> list[str]:
    return [workspace.lake.read(path).decode() for path in workspace.lake.list("outbox") if path.endswith(".json")]


def test_three_missed_days_are_caught_up_and_today_is_not_written(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    for days in (3, 1, 0):
        use(workspace, before(days))
    with caplog.at_level(logging.INFO):
        done = do("meter", workspace)
    assert done.days == (before(3), before(2), before(1)), "a day without a run has storage"
    assert "1 of 3 days" in caplog.messages
    assert "3 of 3 days" in caplog.messages
    rows = open_costs(workspace).read(before(10), before(-10), ["x_ChargeDay", "x_Stage"]).to_pylist()
    assert {row["x_ChargeDay"] for row in rows if row["x_Stage"] == "train"} == {str(before(3)), str(before(1))}
    assert do("report", workspace).days == (before(3), before(2), before(1)), "a page for each of them"
    (mail,) = letters(workspace)
    assert "20 November" in mail, "and a mail for the last one"


def test_once_more_makes_no_commit_no_page_and_no_mail(workspace: Workspace) -> None:
    use(workspace, before(1))
    night(workspace)
    tables, mails = (open_costs(workspace), open_metered(workspace)), letters(workspace)
    history = [table.history() for table in tables]
    assert [len(commits) for commits in history] == [1, 1]
    night(workspace)
    assert [table.history() for table in tables] == history
    assert letters(workspace) == mails
    assert [do(step, workspace).days for step in ("meter", "export", "ingest")] == [(), (), ()]


def test_what_is_accounted_for_late_is_priced_the_next_night_and_later_when_its_day_is_named(
    workspace: Workspace,
) -> None:
    for days in (5, 1):
        use(workspace, before(days))
    assert len(do("meter", workspace).days) == 5
    for days in (5, 1):
        use(workspace, before(days), "promote")
    assert do("meter", workspace).days == (before(1),)
    assert do("meter", workspace, since=before(5), until=before(5)).days == (before(5),)


def test_what_has_no_price_is_said_each_night_and_another_currency_until_the_night_prices_anew(
    workspace: Workspace, home: Path
) -> None:
    for days in (5, 1):
        use(workspace, before(days))
    (lacking,) = do("meter", workspace).notes
    assert lacking.startswith(f"No price for storage since {before(5)}: "), (
        "its use costs nothing, and that is not said"
    )
    (home.parent / "costs.yaml").write_text(SHEET.replace("USD", "EUR").replace("local:", "other:"))
    mixed = f"Estimates of 0.020 USD since {before(5)} are not in the price sheet's currency, EUR: "
    remedy = f"run export_costs with --since {before(5)} to price these days anew."
    assert mixed + remedy in do("budgets", workspace).notes
    (lacking,) = do("meter", workspace).notes
    assert lacking.startswith(f"No price for local, storage since {before(5)}: ")
    assert summarise(workspace, before(1)).notes[-1] == lacking
    (home.parent / "costs.yaml").write_text(SHEET.replace("USD", "EUR"))
    assert len(do("meter", workspace).notes) == 1, "there is a price again"
    assert vcpu_prices(workspace) == {str(before(days)): Decimal("0.36") for days in (5, 1)}


def vcpu_prices(workspace: Workspace) -> dict[str, Decimal]:
    rows = open_costs(workspace).read(before(99), TODAY, ["x_ChargeDay", "ListUnitPrice", "SkuId"]).to_pylist()
    return {row["x_ChargeDay"]: row["ListUnitPrice"] for row in rows if row["SkuId"] == "local"}


def test_other_prices_hold_for_days_without_an_invoice(
    workspace: Workspace, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the newest three days alone would be dearer than all before them, and odd."""
    monkeypatch.setattr(costs, "REPRICED_DAYS", 7)
    for days in (8, 6, 5, 1):
        use(workspace, before(days))
    do("meter", workspace)
    open_costs(workspace).replace_days([before(5)], [], origin="invoice", submitted_at=NOW, reason="invoiced")
    (home.parent / "costs.yaml").write_text(SHEET.replace("0.36", "0.72"))
    assert do("meter", workspace, since=before(1)).days == (before(1),), "somebody wanted no other"
    assert do("meter", workspace).days == (before(6),), "the first one is too long ago, and one is invoiced"
    old, new = Decimal("0.36"), Decimal("0.72")
    assert vcpu_prices(workspace) == {str(before(8)): old, str(before(6)): new, str(before(1)): new}
    assert do("meter", workspace).days == ()


def test_a_night_that_is_killed_between_both_tables_is_made_up_for_however_long_ago_the_day(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for days in (7, 6, 5, 1):
        use(workspace, before(days))
    do("meter", dataclasses.replace(workspace, clock=lambda: NOW - timedelta(days=6)))  # and then Airflow was off
    replace_days, commits = CostTable.replace_days, itertools.count()

    def dying(table: CostTable, *args: Any, **options: Any) -> list[date]:
        if next(commits) == 3:
            raise KeyboardInterrupt
        return replace_days(table, *args, **options)

    monkeypatch.setattr(CostTable, "replace_days", dying)
    with pytest.raises(KeyboardInterrupt):
        do("meter", workspace)
    monkeypatch.undo()
    do("meter", workspace)
    days = [before(number) for number in range(1, 7)]
    for table in (open_costs(workspace), open_metered(workspace)):
        assert table.submitted(days).keys() == set(days)


def test_without_azure_there_is_nothing_to_ask_for_or_to_take_in(workspace: Workspace) -> None:
    use(workspace, before(1))
    for step in ("export", "ingest"):
        (note,) = do(step, workspace).notes
        assert note == "no connection azure_costs, so there are no invoices: the table holds estimates"


def test_what_cannot_be_taken_in_is_mailed_once_and_noted_with_what_else_people_should_know(home: Path) -> None:
    workspace = open_workspace(home)
    workspace = dataclasses.replace(workspace, credentials={"azure_costs": CONNECTION})
    root = home / "lake" / "exports" / "costs"
    for first in (date(2026, 9, 1), date(2026, 10, 1)):
        broken = root / "noria" / f"{first:%Y%m}" / "manifest.json"
        broken.parent.mkdir(parents=True)
        broken.write_text("{")
        for _ in range(2):
            notes = do("ingest", workspace).notes
        posted = [json.loads(letter)["alert"] for letter in letters(workspace)]
        assert sum(f"{first:%Y%m}/manifest.json" in str(alert["details"]) for alert in posted) == 1
        file = workspace.settings.costs_file
        file.write_text(file.read_text().replace("finance@example.org", ""))
    assert len(notes) == len(posted) == 2
    assert len({alert["cause"] for alert in posted}) == 1, "so that mails fold"
    told = [json.loads(letter)["recipients"] for letter in letters(workspace)]
    assert told == [["finance@example.org"], ["data-science@example.org"]], "everyone, where nobody gets the report"
    charges.deliver(root, [charges.charge(before(9)), charges.charge(before(7))], NOW, (before(9), before(7)))
    assert do("ingest", workspace).notes[0] == f"nothing was charged: {before(8)}"


def test_days_of_a_refused_delivery_are_missing_told_of_and_asked_for_once_a_week(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[date, date]] = []
    client = SimpleNamespace(export_name="x", runs=list, run_export=lambda *days: asked.append(days))
    monkeypatch.setattr("noria.costs.cost_management.missing.open_client", lambda _: client)
    monkeypatch.setattr("noria.costs.cost_management.missing.keep_export", lambda *_: False)
    october = (date(2026, 10, 1), date(2026, 10, 31))
    root = home / "lake" / "exports" / "costs"

    def on(day: int, step: str) -> StepRecord:
        workspace = dataclasses.replace(
            open_workspace(home),
            credentials={"azure_costs": CONNECTION},
            clock=lambda: datetime(2026, 11, day, 3, tzinfo=UTC),
        )
        return do(step, workspace, *october)

    def come(day: int, **more: Any) -> None:
        row = charges.charge(october[0], **more)
        charges.deliver(root, [row], datetime(2026, 11, day, 1, tzinfo=UTC), october)

    come(6, EffectiveCost=None)
    assert (on(6, "export").notes, len(on(6, "ingest").refused)) == ((), 1), "first it is looked at"
    for day in (7, 12):
        done = on(day, "export")
        assert (done.days, done.waiting, asked) == ((), (), [])
        assert "31 days of 2026-10-01 to 2026-10-31 came in deliveries that cannot be used" in done.notes[0]
    assert on(13, "export").waiting and asked == [october]
    come(13)
    assert on(14, "ingest").refused == () and on(14, "export").notes == ()
    on(22, "export")
    assert asked == [october]


def test_before_the_first_run_there_is_nothing_to_do(workspace: Workspace) -> None:
    night(workspace)
    assert letters(workspace) == []
    assert not open_costs(workspace).history()


@pytest.mark.parametrize(
    ("since", "until", "message"),
    [
        (None, TODAY, "--until 2026-11-21; expected a day that is over, so 2026-11-20"),
        (TODAY, None, "--since 2026-11-21; expected a day that is over, so 2026-11-20"),
        (before(1), before(3), "the earlier day first"),
        (date(1026, 11, 1), None, "--since 1026-11-01; expected 2025-10-16 or later"),
    ],
)
def test_days_that_cannot_be_meant_are_refused(
    workspace: Workspace, since: date | None, until: date | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        days_to_do(since, until, None, workspace)


def test_the_first_day_is_one_that_a_job_ended_on_whatever_else_lies_there(workspace: Workspace) -> None:
    for stray in ("metering/.DS_Store/x/y/z.json", f"metering/{before(40)}/storage.json", "metering/notes.txt"):
        workspace.lake.create(stray, b"{}")
    use(workspace, date(1970, 1, 1))
    assert do("meter", workspace).since is None, "a clock that was wrong makes no thousands of days"
    use(workspace, before(2))
    assert do("meter", workspace).since == before(2)
    assert do("export", workspace).first == before(2)


def test_days_before_the_first_job_that_somebody_names_have_no_storage_and_are_not_caught_up_ever_after(
    workspace: Workspace,
) -> None:
    use(workspace, before(2))
    assert do("meter", workspace, since=before(30)).days == (before(2), before(1))
    assert not workspace.lake.exists(f"metering/{before(30)}/storage.json")
    assert do("meter", workspace).since == before(2)


def test_a_night_lists_what_was_metered_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for days in (4, 1):
        use(workspace, before(days))
    listed: list[str] = []
    sizes = DiskLake.sizes

    def telling(lake: DiskLake, folder: str) -> Iterator[tuple[str, int]]:
        listed.append(folder)
        return sizes(lake, folder)

    monkeypatch.setattr(DiskLake, "sizes", telling)
    night(workspace)
    assert listed.count("metering") == 1
    assert listed.count("") == 1, "one look at what is kept does for all days that were missed"


def test_what_a_night_uses_is_metered_too(workspace: Workspace) -> None:
    do("meter", workspace)
    (path,) = workspace.lake.list(f"metering/{TODAY}/noria/night-{TODAY}")
    assert JobUsage.model_validate_json(workspace.lake.read(path)).stage == "costs-meter"


KILLED = """
import os, signal, sys
# Once for all that are forked: what a step imports by itself takes longer than what it does.
import croniter, deltalake.fs, jinja2, pandas, ruamel.yaml
import pyarrow.acero, pyarrow.compute, pyarrow.dataset, pyarrow.pandas_compat, pyarrow.parquet, pyarrow.substrait
import noria.alerts.budgets, noria.alerts.costs, noria.costs.cost_management, noria.costs.invoices, noria.costs.page
from noria.costs.page.render import _environment
from noria.jobs import costs
from noria.lake.disk import DiskLake

for name in _environment().list_templates():
    _environment().get_template(name)

def dying(write, weight):
    def call(lake, *args):
        global left
        left -= weight
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(lake, *args)
    return call

for name, weight in {"create": 1, "replace": 1, "put": 1 / 8}.items():
    setattr(DiskLake, name, dying(getattr(DiskLake, name), weight))
for line in sys.stdin:
    left, *sys.argv[1:] = line.split()
    left = int(left)
    if (child := os.fork()) == 0:
        if "budgets" in sys.argv:  # those of Azure are another matter
            del os.environ["AIRFLOW_CONN_AZURE_COSTS"]
        costs.main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
os._exit(0)  # at once, as a job does
"""
"""Runs the job for each line of its input, `<writes> <arguments>`: it is killed when it has written so often.

Files of a table are many and none is seen before their commit, so eight of them count as one document does.
"""


class Jobs:
    """Jobs that are killed in the middle, in processes that share their imports.

    Args:
        home: Their NORIA_HOME.
    """

    def __init__(self, home: Path) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "NORIA_"))}
        own = {
            "NORIA_HOME": str(home),
            "NORIA_COSTS": str(home.parent / "costs.yaml"),
            "NORIA_PIPELINES": str(home / "pipelines"),  # none: reading theirs would take as long as all else
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", KILLED],
            env={**clean, **own, "AIRFLOW_CONN_AZURE_COSTS": CONNECTION},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, step: str, writes: int) -> int:
        """Do a step of yesterday, killed after so many writes; its exit code."""
        assert self._process.stdin
        assert self._process.stdout
        print(writes, step, file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if not line.startswith("{"):  # the job's own answer
                return int(line)
        raise AssertionError("the jobs have ended")

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=10)


YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)


@pytest.fixture
def jobs(home: Path) -> Iterator[Jobs]:
    jobs = Jobs(home)
    yield jobs
    jobs.end()


def state(workspace: Workspace) -> tuple[list[str], list[str], bool, set[str]]:
    """What people see: the table's day, its estimate, whether there is a page, and what mails are about."""
    columns, tomorrow = ["x_Origin", "BilledCost"], YESTERDAY + timedelta(days=1)
    costs, metered = (
        sorted(map(str, table.read(YESTERDAY, tomorrow, columns).to_pylist()))
        for table in (open_costs(workspace), open_metered(workspace))
    )
    kinds = {json.loads(letter)["alert"]["kind"] for letter in letters(workspace)}
    return costs, metered, workspace.lake.exists(f"reports/costs/{YESTERDAY}.html"), kinds


def test_a_step_that_is_killed_again_and_again_leaves_a_day_old_or_new_and_completes_it(
    jobs: Jobs, workspace: Workspace, home: Path
) -> None:
    use(workspace, YESTERDAY)
    settled_at = datetime.now(UTC) + timedelta(days=1)
    deliver(home / "lake" / "exports" / "costs", Month(YESTERDAY.replace(day=1), rows=60, parts=1), settled_at)
    (home.parent / "costs.yaml").write_text(f"{SHEET}total: {{ per_month: 0.00001 }}\n")
    for step in ("meter", "budgets", "ingest", "report"):
        seen, code, writes = [state(workspace)], -signal.SIGKILL, 1
        while code == -signal.SIGKILL:
            code = jobs.do(step, writes)
            seen.append(state(workspace))
            writes += 1
        assert code == 0
        assert writes > 2, f"{step} was not killed in the middle"
        for told in zip(*seen, strict=True):
            assert len({str(value) for value in told}) <= 2, f"{step}: neither old nor new"
            assert list(told) == sorted(told, key=lambda value: value != told[0]), f"{step}: old again after new"
    costs, metered, has_page, kinds = state(workspace)
    assert all("invoice" in row for row in costs)
    assert ["metering" in row for row in metered] == [True, True], "the job and what is kept"
    assert has_page
    assert kinds == {"budget", "cost report"}
