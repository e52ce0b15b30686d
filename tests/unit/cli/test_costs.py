"""`noria costs`: what it tells of a real table, and of jobs that are in no table yet."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from noria.cli import main
from noria.costs.metering import meter_days
from noria.costs.recent import rows_until_now
from noria.costs.sheet import load_sheet
from noria.costs.table import open_costs
from noria.costs.usage import keep_usage
from noria.errors import ExitCode
from noria.records import JobUsage, Usage
from noria.settings import Settings
from noria.workspace import Workspace
from tests.support.charges import bill, nodes, write

SHEET = """
currency: USD
machines:
  local: { per_vcpu_hour: 0.36, source: a test, date: 2026-11-01 }
"""


def today() -> date:
    return datetime.now(UTC).date()


def job(
    workspace: Workspace, run_id: str, stage: str = "train", cpu_seconds: float = 500, ended: datetime | None = None
) -> None:
    """An attempt that held ten vCPUs for a hundred seconds just now and used half of them: 0.10 USD."""
    ended = ended or datetime.now(UTC)
    usage = Usage(wall_seconds=100, cpu_seconds=cpu_seconds, peak_rss_bytes=1, vcpu_seconds=1000)
    keep_usage(
        JobUsage(
            pipeline="students", run_id=run_id, stage=stage, outcome="done", usage=usage,
            started_at=ended - timedelta(seconds=100), finished_at=ended,
        ),
        workspace.lake,
    )  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Yesterday is invoiced, in two currencies; today is in the table with one of its two jobs."""
    home = tmp_path_factory.mktemp("costs")
    (home / "costs.yaml").write_text(SHEET)
    workspace = Workspace.open(Settings.from_env({"NORIA_COSTS": str(home / "costs.yaml")}, home=home))
    job(workspace, "r1")
    meter_days(workspace, load_sheet(home / "costs.yaml"), [today()])
    job(workspace, "r2", cpu_seconds=0)  # as Spark, which does not tell
    day = today() - timedelta(days=1)
    write(
        workspace,
        nodes("1", "0.60", day=day, x_Stage="train"),
        bill("[bold]Vault[/bold]", "1", "10K", "7.00", day=day, BillingCurrency="EUR"),
        bill("Vault", "1", "10K", "1.00", day=day, BillingCurrency=None),
    )
    return home


@pytest.fixture(autouse=True)
def _sheet(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORIA_COSTS", str(home / "costs.yaml"))


def costs(home: Path, *arguments: str) -> int:
    return main(["costs", *arguments, "--home", str(home)])


def told(home: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    since = str(today() - timedelta(days=1))
    assert costs(home, "--since", since, "--json", *arguments) == ExitCode.OK
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_json_is_one_object_with_currencies_apart_and_today_priced_now(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(home, capsys)
    assert found["priced_now"] == [str(today())]
    none, eur, usd = found["currencies"]
    assert (eur["currency"], float(eur["total"])) == ("EUR", 7.0)
    assert (none["currency"], float(none["total"])) == ("(no currency)", 1.0)
    assert usd["currency"] == "USD" and float(usd["total"]) == pytest.approx(0.80, abs=1e-5), "both jobs, each once"
    (line, *_) = usd["lines"]
    assert (line["pipeline"], line["vcpu_seconds"], line["cpu_seconds"]) == ("students", 2000, 500)
    assert line["told_vcpu_seconds"] == 1000, "half of it was used"
    assert float(line["estimate"]) == pytest.approx(0.20)


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("stage", ["train", None]),
        ("service", ["Virtual Machines", "Local Machine", "Local Disk"]),
        ("machine", [None, "local"]),
        ("run", ["students r1", "students r2", None]),
    ],
)
def test_costs_are_told_apart_as_asked(
    home: Path, capsys: pytest.CaptureFixture[str], by: str, names: list[str]
) -> None:
    usd = told(home, capsys, "--by", by)["currencies"][2]
    assert {line[by] for line in usd["lines"]} <= set(names)
    assert names[0] in {line[by] for line in usd["lines"]}


def test_days_are_in_their_order(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usd = told(home, capsys, "--by", "day")["currencies"][2]
    assert [line["day"] for line in usd["lines"]] == [str(today() - timedelta(days=1)), str(today())]


def test_a_year_is_read_month_by_month_and_no_day_twice(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert costs(home, "--since", f"{today().year - 1}-01-31", "--json") == ExitCode.OK
    of_year = json.loads(capsys.readouterr().out)["currencies"]
    assert of_year == told(home, capsys)["currencies"]


def test_a_day_whose_invoice_charges_nothing_costs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a day between those that are written counts, however its night was missed."""
    workspace = Workspace.open(Settings.from_env({}, home=tmp_path))
    days = [today() - timedelta(days=number) for number in (3, 2, 1)]
    for day in days:
        job(workspace, f"r{day:%d}", ended=datetime.combine(day, time(12), UTC))
    table = open_costs(workspace)
    sheet = load_sheet(Path(os.environ["NORIA_COSTS"]))
    meter_days(workspace, sheet, [days[0], days[2]])
    table.replace_days(days[2:], [], origin="invoice", submitted_at=datetime.now(UTC), reason="invoiced")
    (usd,) = told(tmp_path, capsys, "--since", str(days[0]), "--by", "day")["currencies"]
    assert [line["day"] for line in usd["lines"]] == [str(days[0]), str(days[1])]
    assert costs(tmp_path, "--since", "0001-01-01", "--by", "day") == ExitCode.OK
    assert f"{days[1]} not written yet: priced just now" in capsys.readouterr().out
    spent = rows_until_now(table, workspace, sheet, days[0], ("BilledCost",))
    assert sum(row["BilledCost"] for row in spent.to_pylist()) == pytest.approx(Decimal("0.20"))


def test_the_table_says_what_was_priced_just_now_and_names_are_no_markup(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    since = str(today() - timedelta(days=1))
    assert costs(home, "--since", since, "--by", "service") == ExitCode.OK
    said = capsys.readouterr().out
    assert "[bold]Vault[/bold]" in said
    assert re.search(r"Local Machine .*0\.56 +50 %", said), "of the one job that tells what it used"
    assert f"{today()} not written yet: priced just now" in said
    assert costs(home, "--since", since, "--until", since) == ExitCode.OK
    assert "priced just now" not in capsys.readouterr().out


def test_the_history_says_what_was_written_of_the_days(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert costs(home, "--history", "--until", str(today())) == ExitCode.OK
    said = capsys.readouterr().out
    assert "metered" in said and "billed before" in said and "billed after" in said, "all else is EffectiveCost"
    found = told(home, capsys, "--history")["history"]
    assert [entry["origin"] for entry in found] == ["metering", "invoice"]
    assert found[1]["before"] == {} and float(found[1]["after"]["EUR"]) == 7


def test_without_any_data_it_says_how_to_get_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert costs(tmp_path) == ExitCode.OK
    assert "`noria run students`" in capsys.readouterr().out
    assert costs(tmp_path, "--json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["currencies"] == []
    assert costs(tmp_path, "--history") == ExitCode.OK
    assert "nothing was written" in capsys.readouterr().out


def test_days_that_cannot_be_meant_are_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert costs(home, "--since", "2026-11-02", "--until", "2026-11-01") == ExitCode.BAD_INPUT
    assert "expected the earlier day first" in capsys.readouterr().err
    with pytest.raises(SystemExit) as refused:
        costs(home, "--since", "yesterday")
    assert refused.value.code == ExitCode.BAD_INPUT
    assert "'yesterday' is no day; expected one such as 2026-11-01" in capsys.readouterr().err
