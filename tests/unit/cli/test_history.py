"""`noria history`: who was champion when, and why, out of a real ledger."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from noria.cli import main
from noria.errors import ExitCode
from noria.ledger import PATH
from noria.records import LedgerEntry
from noria.settings import Settings
from noria.workspace import Workspace

START = datetime(2026, 11, 20, 5, 0, tzinfo=UTC)


def entry(hours: float, event: str, before: str | None, after: str | None, **changes: Any) -> LedgerEntry:
    values: dict[str, Any] = {
        "pipeline": "students",
        "at": START + timedelta(hours=hours),
        "event": event,
        "run_id": f"r{hours:g}",
        "model_sha256": f"{hours:g}".rjust(64, "0"),
        "holdout_sha256": "h" * 64,
        "policy_sha256": "p" * 64,
        "version": after if before != after else None,
        "champion_before": before,
        "champion_after": after,
        "by": "gate",
        "reasons": ("r2 0.87 is at least 0.8",),
    }
    return LedgerEntry.model_validate({**values, **changes})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A champion at 05:00, none better at 06:00, one by force at 24:00, and the first one again at 30:00."""
    home = tmp_path_factory.mktemp("history")
    ledger = Workspace.open(Settings.from_env({}, home=home)).ledger("students")
    ledger.append(entry(0, "promoted", None, "1"))
    ledger.append(entry(1, "kept", "1", "1", reasons=("not better than [bold]luck[/bold] explains",)))
    ledger.append(entry(24, "forced", "1", "2", by="ada", reasons=("the boss wants it",)))
    ledger.append(entry(30, "rolled_back", "2", "1", by="grace", reasons=("the boss was wrong",)))
    return home


def history(home: Path, *arguments: str, name: str = "students") -> int:
    return main(["history", name, *arguments, "--home", str(home)])


def test_every_decision_is_told_in_order_and_force_is_loud(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert history(home) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines[1:]] == ["promoted", "kept", "FORCED", "rolled"]
    assert "none → 1" in lines[1] and "1 → 2" in lines[3] and "2 → 1" in lines[4]
    assert "[bold]luck[/bold]" in lines[2], "what the gate says is no markup"
    assert "ada" in lines[3] and "the boss wants it" in lines[3]


@pytest.mark.parametrize(
    ("moment", "version", "why"),
    [
        ("2026-11-20T05:00", "1", "r2 0.87"),
        ("2026-11-20T23:59:59", "1", "r2 0.87"),
        ("2026-11-21T06:00+01:00", "2", "the boss wants it"),
        ("2026-11-21T04:59Z", "1", "r2 0.87"),
        ("2027-01-01", "1", "the boss was wrong"),
    ],
)
def test_the_champion_of_a_moment(
    home: Path, moment: str, version: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert history(home, "--at", moment) == ExitCode.OK
    said = capsys.readouterr().out
    assert said.startswith(f"version {version} was the champion of students at ") and why in said
    assert history(home, "--at", moment, "--json") == ExitCode.OK
    facts = json.loads(capsys.readouterr().out)
    assert (facts["champion"]["champion_after"], facts["findings"]) == (version, [])


def test_before_the_first_champion_there_was_none(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert history(home, "--at", "2026-11-20T04:59") == ExitCode.OK
    assert capsys.readouterr().out == "students had no champion at 2026-11-20 04:59:00 UTC\n"
    assert history(home, "--at", "2026-11-20T04:59", "--json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["champion"] is None


def test_json_is_one_object_with_every_entry(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert history(home, "--json") == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert [e["event"] for e in told["entries"]] == ["promoted", "kept", "forced", "rolled_back"]
    assert told["pipeline"] == "students" and told["entries"][2]["by"] == "ada"


def test_a_history_that_was_tampered_with_is_told_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace.open(Settings.from_env({}, home=tmp_path))
    ledger = workspace.ledger("students")
    ledger.append(entry(0, "promoted", None, "1"))
    ledger.append(entry(1, "promoted", "1", "2"))
    key = workspace.settings.home / "keys" / "verdicts.key"
    key.write_text("another key that has not signed these entries\n".replace(" ", "-"))
    assert history(tmp_path, "--json") == ExitCode.FAILED
    said = capsys.readouterr()
    assert len(json.loads(said.out)["findings"]) == 2
    assert "noria history: the LedgerEntry of run r0 is signed with the key" in said.err
    assert workspace.lake.exists(f"{PATH}/_delta_log/{0:020}.json")


@pytest.mark.parametrize("moment", ["yesterday", "2026-13-01", ""])
def test_what_is_no_time_is_told(tmp_path: Path, moment: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert history(tmp_path, "--at", moment) == ExitCode.BAD_INPUT
    assert f"--at {moment}; expected a time such as 2026-11-21" in capsys.readouterr().err


def test_nothing_was_decided_yet_and_no_such_pipeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert history(tmp_path) == ExitCode.OK
    assert capsys.readouterr().out == "nothing was decided about students yet\n"
    assert history(tmp_path, name="nope") == ExitCode.BAD_INPUT
    assert "no pipeline 'nope'; expected one of: " in capsys.readouterr().err
