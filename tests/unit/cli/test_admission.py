"""Whether a run of the command line may begin."""

from __future__ import annotations

import getpass
import io
import json
import os
import pty
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from noria.cli import main
from noria.cli.admission import admit
from noria.costs.budgets import find_judgement
from noria.doctor.finding import found
from noria.doctor.local import check_prices
from noria.errors import BudgetError, InputError
from noria.settings import Settings
from noria.workspace import Workspace
from tests.support.spending import SHEET, past


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Three runs of ten euros were before."""
    (tmp_path / "costs.yaml").write_text(SHEET)
    monkeypatch.setenv("NORIA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NORIA_COSTS", str(tmp_path / "costs.yaml"))
    workspace = Workspace.open(Settings.from_env())
    for _ in range(3):
        past(workspace, 10)
    return workspace


def try_to_begin(workspace: Workspace, budget: str, reason: str | None = None) -> tuple[str, bool | None]:
    """What is printed, and the answer that is kept."""
    run = workspace.create_run("students", overrides={"budget": budget})
    said = io.StringIO()
    try:
        admit(run, workspace, Console(file=said), reason)
    finally:
        judgement = find_judgement(run, workspace)
        answer = judgement.answer if judgement else None
        if answer:
            assert answer.by == getpass.getuser()
    return said.getvalue(), answer.approved if answer else None


def test_a_stopped_run_ends_with_1_and_has_run_no_job(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(workspace.lake.list("metering"))
    assert main(["run", "students", "--json", "--set", "budget={per_run: 9, when_exceeded: stop}"]) == 1
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert said["verdict"] is None and "budget.per_run of students is 9.00 EUR" in said["error"]
    assert "noria run: the run breaks its budget. This run will cost about 10.00 EUR" in err
    assert "Raise the bound" in err
    assert set(workspace.lake.list("metering")) == before
    folder = f"runs/students/{said['run_id']}"
    assert {path.removeprefix(f"{folder}/") for path in workspace.lake.list(folder)} == {
        "run.json", "budget.json", "budget.failed.json",
    }  # fmt: skip


def test_a_warning_is_printed_and_the_run_goes_on(workspace: Workspace) -> None:
    said, answer = try_to_begin(workspace, "{per_run: 9}")
    assert "budget.per_run of students is 9.00 EUR" in said and answer is None
    assert "about 10.00 EUR" in try_to_begin(workspace, "{per_run: 90}")[0]
    assert try_to_begin(workspace, "{}") == ("", None), "where nothing is bound, nothing is read"


def test_a_run_that_has_no_price_is_told_of_and_goes_on(workspace: Workspace) -> None:
    workspace.settings.costs_file.write_text(SHEET.replace("local:", "synapse:"))
    said, _ = try_to_begin(workspace, "{per_run: 9, when_exceeded: stop}")
    assert "no price for local in the price sheet" in said
    assert "budget.per_run of students could not be judged in full" in said


def test_what_is_held_for_a_run_is_released_at_its_end(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    def interrupted(*_: object, **__: object) -> int:
        held.extend(workspace.lake.list("budgets/held"))
        raise KeyboardInterrupt

    monkeypatch.setattr("noria.cli.run._run_stages", interrupted)
    main(["run", "students", "--set", "budget={per_run: 90}"])
    assert len(held) == 1 and list(workspace.lake.list("budgets/held")) == []


def test_without_a_terminal_people_are_asked_by_a_flag(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(BudgetError, match="To let it run all the same: --exceed-budget REASON"):
        try_to_begin(workspace, "{per_run: 9, when_exceeded: approve}")
    assert try_to_begin(workspace, "{per_run: 9, when_exceeded: approve}", "the fair is tomorrow")[1] is True
    with pytest.raises(InputError, match="the reason is empty"):
        try_to_begin(workspace, "{per_run: 9, when_exceeded: approve}", " ")
    with pytest.raises(InputError, match=r"expected one of anna \(approvers of the budget\)"):
        try_to_begin(workspace, "{per_run: 9, when_exceeded: approve, approvers: [anna]}", "why not")
    with pytest.raises(BudgetError):
        try_to_begin(workspace, "{per_run: 9, when_exceeded: stop}", "a stop is a stop")


def test_a_price_sheet_that_is_wrong_is_in_the_way_of_pipelines_with_a_budget_alone(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.settings.costs_file.write_text("currency: 3\n")
    assert try_to_begin(workspace, "{}") == ("", None)
    before = set(workspace.lake.list("runs"))
    assert main(["run", "students", "--json", "--set", "budget={per_run: 9}"]) == 2
    assert "costs.yaml:1: currency" in capsys.readouterr().err
    assert set(workspace.lake.list("runs")) == before, "it is seen before there is a run"
    assert found("prices", lambda: check_prices(workspace.settings)).status == "fail"


def test_a_yes_of_somebody_else_ends_the_run_with_its_reason_kept(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = "budget={per_run: 9, when_exceeded: approve, approvers: [anna]}"
    assert main(["run", "students", "--json", "--set", budget, "--exceed-budget", "why not"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert "may not let a run of students break its budget" in said["error"]
    failure = workspace.failure(workspace.load_run("students", said["run_id"]))
    assert failure is not None and failure.error == "InputError"


def test_what_is_typed_is_to_what_was_shown(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody thinks, another run has spent ten euros more."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))

    def thinking(_console: Console) -> str:
        past(workspace, 10)
        return "the fair is tomorrow"

    monkeypatch.setattr("noria.cli.admission._typed", thinking)
    with pytest.raises(BudgetError, match="the fair is tomorrow, but more would be exceeded by now"):
        try_to_begin(workspace, "{per_day: 35, when_exceeded: approve}")


@pytest.mark.parametrize("typed", ["the fair is tomorrow\n", "\n", "\x04"])
def test_on_a_terminal_people_are_asked(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    keyboard, terminal = pty.openpty()
    with os.fdopen(terminal, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        os.write(keyboard, typed.encode())
        if typed.startswith("the"):
            assert try_to_begin(workspace, "{per_run: 9, when_exceeded: approve}")[1] is True
        else:
            with pytest.raises(BudgetError, match=r"Declined by .*: no reason given"):
                try_to_begin(workspace, "{per_run: 9, when_exceeded: approve}")
    os.close(keyboard)
