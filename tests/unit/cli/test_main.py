import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from noria.cli import COMMANDS, main
from noria.cli import run as cli_run
from noria.records import Run
from noria.workspace import Workspace
from tests.support.runs import candidate, decision, done


def noria(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from noria.cli import main; sys.exit(main())",
            *arguments,
            "--home",
            str(home),
        ],
        check=False,
        capture_output=True,
        text=True,
    )


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
def test_wrong_usage_ends_with_2_and_says_why(arguments: list[str], message: str, tmp_path: Path) -> None:
    ended = noria("run", *arguments, home=tmp_path)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "user:pass" not in ended.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["run", "up"])
@pytest.mark.parametrize("place", ["file/home", "/proc/home"])
def test_a_home_that_cannot_be_written_is_named(command: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / place
    ended = noria(command, "students", home=home)
    assert ended.returncode == 1
    assert f"noria {command}: cannot use {home}" in ended.stderr
    assert "NORIA_HOME" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_wrong_value_is_told_before_airflow_is_started(tmp_path: Path) -> None:
    ended = noria("up", "students", "--set", "trials=8", "--set", "tunning.trials=8", home=tmp_path)
    assert ended.returncode == 2
    assert "did you mean 'tuning'" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_a_second_run_of_a_pipeline_is_told_that_one_is_in_progress(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    with FileLock(tmp_path / "locks" / "students.lock"):
        ended = noria("run", "students", "--json", home=tmp_path)
    assert ended.returncode == 1
    assert "another run of 'students' is in progress" in ended.stderr
    assert ended.stdout == ""
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.slow
def test_run_prints_one_json_object_with_the_verdict(tmp_path: Path) -> None:
    smaller = ("estimators=[{kind: ridge}]", "tuning.trials=1", "tuning.workers=1", "tuning.folds=2")
    demanding = (*smaller, "evaluation.seeds=2", "gate.thresholds.0.min=0.999")
    ended = noria(
        "run", "students", "--json", *(word for change in demanding for word in ("--set", change)), home=tmp_path
    )
    assert ended.returncode == 3, ended.stderr
    result = json.loads(ended.stdout)
    assert {
        "pipeline",
        "run_id",
        "snapshot",
        "verdict",
        "reasons",
        "metrics",
        "baselines",
        "champion_version",
        "report",
        "seconds",
        "stages",
    } <= set(result)
    assert (result["verdict"], result["champion_version"], result["waiting"]) == ("reject", None, False)
    assert "0.999" in " ".join(result["reasons"])
    assert result["metrics"]["r2"] > 0.8 > result["baselines"]["dummy"]["r2"]
    assert Path(result["report"]).is_file()
    assert list(result["stages"]) == ["ingest", "validate", "explore", "train", "promote", "report"]


def test_a_run_whose_candidate_waits_ends_well_and_says_how_to_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = []

    def leave_a_record(stage: str, run: Run, workspace: Workspace, _on_line: object) -> None:
        stages.append(stage)
        if stage == "train":
            done(workspace, run, stage, candidate(run))
        if stage == "promote":
            done(workspace, run, stage, decision("promote", waiting=True))

    monkeypatch.setattr(cli_run, "_stage", leave_a_record)
    monkeypatch.setattr(cli_run, "_note", lambda *_: "")
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the tests' own process goes on after it
    asking = ("--set", "gate.approval.timeout_hours=1")
    assert main(["run", "students", "--json", *asking, "--home", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert (result["verdict"], result["waiting"]) == ("promote", True)
    assert f"waits for approval: noria promote students --run {result['run_id']} --approve --reason …" in printed.err
    assert stages == ["ingest", "validate", "explore", "train", "promote", "report"]
