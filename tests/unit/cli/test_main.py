import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from noria.cli import COMMANDS, main
from noria.cli import run as cli_run
from noria.records import Decision, Run
from noria.workspace import Workspace
from tests.support.runs import candidate, decision, done

Noria = Callable[..., SimpleNamespace]


@pytest.fixture
def noria(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Noria:
    """The command in this process, whose own signals stay as they are."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def noria(*arguments: str, home: Path) -> SimpleNamespace:
        code = main([*arguments, "--home", str(home)])
        printed = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=printed.out, stderr=printed.err)

    return noria


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "no pipeline 'nope'; expected one of: "),
        (["students", "--set", "tuning.trials"], "--set tuning.trials; expected KEY=VALUE"),
        (["students", "--set", "tuning.trials=none"], "expected a whole number"),
        (["students", "--set", "tunning.trials=8"], "did you mean 'tuning'"),
        (["students", "--source", "ftp://host/file.csv"], "source 'ftp://host/file.csv'; expected github://"),
        (["students", "--source", "https://user:pass@host/file.csv"], "put it in an Airflow connection instead"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(noria: Noria, arguments: list[str], message: str, tmp_path: Path) -> None:
    ended = noria("run", *arguments, home=tmp_path)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "user:pass" not in ended.stderr
    assert not list(tmp_path.iterdir())


def test_the_command_ends_with_that_code_as_a_process_and_without_a_traceback(tmp_path: Path) -> None:
    command = [Path(sys.executable).parent / "noria", "run", "nope", "--home", tmp_path]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "no pipeline 'nope'; expected one of: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", ["run", "up"])
@pytest.mark.parametrize("place", ["file/home", "/proc/home"])
def test_a_home_that_cannot_be_written_is_named(noria: Noria, command: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / place
    ended = noria(command, "students", home=home)
    assert ended.returncode == 1
    assert f"noria {command}: cannot use {home}" in ended.stderr
    assert "NORIA_HOME" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_wrong_value_is_told_before_airflow_is_started(noria: Noria, tmp_path: Path) -> None:
    ended = noria("up", "students", "--set", "trials=8", "--set", "tunning.trials=8", home=tmp_path)
    assert ended.returncode == 2
    assert "did you mean 'tuning'" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_a_second_run_of_a_pipeline_is_told_that_one_is_in_progress(noria: Noria, tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    with FileLock(tmp_path / "locks" / "students.lock"):
        ended = noria("run", "students", "--json", home=tmp_path)
    assert ended.returncode == 1
    assert "another run of 'students' is in progress" in ended.stderr
    assert ended.stdout == ""
    assert not list(tmp_path.rglob("run.json"))


@pytest.fixture
def judged_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[Decision], list[str]]:
    """Let stages leave records without their work, and the gate's be this one; the stages that were run."""

    def judged_as(verdict: Decision) -> list[str]:
        stages: list[str] = []

        def leave_a_record(stage: str, run: Run, workspace: Workspace, _on_line: object) -> None:
            stages.append(stage)
            if stage == "train":
                done(workspace, run, stage, candidate(run))
            if stage == "promote":
                done(workspace, run, stage, verdict)

        monkeypatch.setattr(cli_run, "_stage", leave_a_record)
        return stages

    monkeypatch.setattr(cli_run, "_note", lambda *_: "")
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the tests' own process goes on after it
    return judged_as


def test_run_prints_one_json_object_and_a_rejected_candidate_is_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], judged_as: Callable[[Decision], list[str]]
) -> None:
    """A real one is started beside the twin, in tests/azure/test_retrain.py."""
    stages = judged_as(decision("reject", champion_version=None, previous_champion=None, reasons=("below 0.999",)))
    assert main(["run", "students", "--json", "--home", str(tmp_path)]) == 3
    result = json.loads(capsys.readouterr().out)
    assert (result["verdict"], result["champion_version"], result["waiting"]) == ("reject", None, False)
    assert result["reasons"] == ["below 0.999"]
    assert result["metrics"]["r2"] > 0.8 > result["baselines"]["dummy"]["r2"]
    assert stages == ["ingest", "validate", "explore", "train", "promote", "report"]


def test_a_run_whose_candidate_waits_ends_well_and_says_how_to_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], judged_as: Callable[[Decision], list[str]]
) -> None:
    stages = judged_as(decision("promote", waiting=True))
    asking = ("--set", "gate.approval.timeout_hours=1")
    assert main(["run", "students", "--json", *asking, "--home", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert (result["verdict"], result["waiting"]) == ("promote", True)
    assert f"waits for approval: noria promote students --run {result['run_id']} --approve --reason …" in printed.err
    assert stages == ["ingest", "validate", "explore", "train", "promote", "report"]
