"""`noria promote` and `noria rollback` on a real registry."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest

from noria.cli import main
from noria.errors import ExitCode
from noria.jobs.runner import run_stage
from noria.records import Decision, Run
from noria.stages.promote import promote
from noria.stages.release import release
from noria.workspace import Workspace, run_path
from tests.support.mlflow_schema import remember_newest_schema
from tests.support.proposals import PUPILS, WEAK, empty_registry, open_workspace, propose, write_pipeline


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    remember_newest_schema()
    return empty_registry(tmp_path_factory)


@pytest.fixture
def workspace(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    workspace = open_workspace(tmp_path / "home", database)
    monkeypatch.setenv("NORIA_HOME", str(workspace.settings.home))
    monkeypatch.setenv("NORIA_PIPELINES", str(workspace.settings.home / "pipelines"))
    monkeypatch.setenv("LOGNAME", "ada")
    return workspace


def asks_people(workspace: Workspace) -> None:
    write_pipeline(workspace.settings.home / "pipelines", {"approval": {"timeout_hours": 24}})


def judged(workspace: Workspace, **proposal: Any) -> Run:
    """A run that got as far as its promote stage."""
    run = propose(workspace, **proposal)
    run_stage("promote", promote, run, workspace)
    return run


def champion(workspace: Workspace) -> str | None:
    found = workspace.registry.champion(PUPILS)
    return found.version if found else None


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    out: dict[str, Any] = json.loads(capsys.readouterr().out)
    return out


# Without a flag


def test_the_newest_candidate_is_judged_again_beside_todays_champion(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    weak, strong = propose(workspace, trained_on=WEAK), propose(workspace)
    assert main(["promote", PUPILS, "--run", weak.run_id, "--json"]) == ExitCode.OK
    first = said(capsys)
    assert (first["verdict"], first["champion_version"], first["new_champion"]) == ("promote", "1", True)
    assert workspace.require(weak, "promote", Decision).champion_version == "1", "a run that stopped short goes on"
    assert main(["promote", PUPILS]) == ExitCode.OK
    shown = capsys.readouterr()
    assert shown.out.startswith("Promoted") and strong.run_id in shown.err
    assert champion(workspace) == "2"
    newest = workspace.registry.champion(PUPILS)
    assert newest is not None and newest.run_id == strong.run_id
    assert main(["promote", PUPILS, "--run", weak.run_id, "--json"]) == ExitCode.OK
    assert champion(workspace) == "2", "what was champion once is brought back by a rollback alone"


def test_the_last_word_on_a_run_is_that_of_its_newest_judgement(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kept back beside a strong champion, and promoted after somebody went back to a weak one."""
    judged(workspace, trained_on=WEAK)
    judged(workspace)
    run = judged(workspace)
    assert workspace.require(run, "promote", Decision).verdict == "keep"
    assert main(["rollback", PUPILS, "--reason", "a drill"]) == ExitCode.OK
    capsys.readouterr()
    assert main(["promote", PUPILS, "--json"]) == ExitCode.OK
    told = said(capsys)
    assert (told["verdict"], told["run_id"], told["champion_version"]) == ("promote", run.run_id, "3")
    assert workspace.require(run, "promote", Decision).verdict == "keep", "a record is not rewritten"
    last = workspace.decision(run)
    assert last is not None and (last.verdict, last.new_champion) == ("promote", True)
    assert "version 3" in Path(told["report"]).read_text(encoding="utf-8")


def test_a_policy_that_was_loosened_since_the_run_does_not_help(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workspace.settings.home / "pipelines"
    write_pipeline(folder, {"thresholds": [{"metric": "r2", "min": 0.99}]})
    run = judged(workspace)
    assert workspace.require(run, "promote", Decision).verdict == "reject"
    assert main(["promote", PUPILS, "--json"]) == ExitCode.REJECTED
    told = said(capsys)
    assert (told["verdict"], told["run_id"], told["champion_version"]) == ("reject", run.run_id, None)
    write_pipeline(folder)
    assert main(["promote", PUPILS]) == ExitCode.REJECTED
    assert champion(workspace) is None


# Answers


def test_a_candidate_that_waits_becomes_the_champion_by_an_answer(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    asks_people(workspace)
    run = judged(workspace)
    assert workspace.require(run, "promote", Decision).waiting and champion(workspace) is None
    propose(workspace)  # a newer one that does not wait is not meant
    assert main(["promote", PUPILS, "--approve", "--reason", " looks\n good ", "--json"]) == ExitCode.OK
    told = said(capsys)
    assert (told["run_id"], told["champion_version"], told["waiting"]) == (run.run_id, "1", False)
    assert (told["approval"]["by"], told["approval"]["reason"]) == ("ada", "looks good")
    assert champion(workspace) == "1"
    page = Path(told["report"]).read_text(encoding="utf-8")
    assert "looks good" in page and "ada" in page
    assert main(["promote", PUPILS, "--decline", "--reason", "no"]) == ExitCode.BAD_INPUT
    assert f"no candidate of '{PUPILS}' waits for approval" in capsys.readouterr().err


def test_a_candidate_that_waits_only_since_it_was_judged_again_can_be_approved(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kept back in its run, which has ended; then somebody went back to a weak champion."""
    judged(workspace, trained_on=WEAK)
    judged(workspace)
    asks_people(workspace)
    run = judged(workspace)
    run_stage("release", release, run, workspace)
    assert workspace.require(run, "release", Decision).verdict == "keep"
    assert main(["rollback", PUPILS, "--reason", "a drill"]) == ExitCode.OK
    capsys.readouterr()
    assert main(["promote", PUPILS, "--json"]) == ExitCode.OK
    assert said(capsys)["waiting"] is True
    assert main(["promote", PUPILS, "--approve", "--reason", "good", "--json"]) == ExitCode.OK
    told = said(capsys)
    assert (told["run_id"], told["champion_version"], told["waiting"]) == (run.run_id, "3", False)
    last, answer = workspace.decision(run), workspace.approval(run)
    assert last is not None and last.new_champion and answer is not None
    assert (answer.previous_champion, champion(workspace)) == ("1", "3"), "approved against the one that stands now"


def test_the_time_to_answer_begins_anew_when_a_candidate_is_judged_again(workspace: Workspace) -> None:
    asks_people(workspace)
    run = judged(workspace)
    before = workspace.asked_at(run)
    assert main(["promote", PUPILS]) == ExitCode.OK
    after = workspace.asked_at(run)
    assert before is not None and after is not None and after > before


def test_a_declined_candidate_stays_outside(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    asks_people(workspace)
    run = judged(workspace)
    chosen = ["promote", PUPILS, "--run", run.run_id]
    assert main([*chosen, "--decline", "--reason", "too soon", "--json"]) == ExitCode.OK
    told = said(capsys)
    assert (told["verdict"], told["new_champion"], told["approval"]["approved"]) == ("keep", False, False)
    assert main([*chosen, "--approve", "--reason", "after all"]) == ExitCode.BAD_INPUT
    assert "has an answer already: ada has declined it" in capsys.readouterr().err
    assert main(chosen) == ExitCode.BAD_INPUT
    assert "was answered for: ada declined: too soon" in capsys.readouterr().err
    assert champion(workspace) is None


def test_an_answer_that_was_cut_off_is_carried_out_by_the_next_try(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asks_people(workspace)
    judged(workspace)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("noria.stages.release.release", killed)
        assert main(["promote", PUPILS, "--approve", "--reason", "good"]) == ExitCode.FAILED
    assert champion(workspace) is None
    assert main(["promote", PUPILS, "--approve", "--reason", "good"]) == ExitCode.OK
    assert "ada has said so already: good" in capsys.readouterr().err
    assert champion(workspace) == "1"


# Force


def test_force_is_loud_and_is_told_for_ever(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    judged(workspace)
    weak = judged(workspace, trained_on=WEAK)
    verdict = workspace.require(weak, "promote", Decision)
    assert verdict.verdict != "promote"
    assert main(["promote", PUPILS, "--force", "--reason", "the boss wants it"]) == ExitCode.OK
    shown = capsys.readouterr()
    assert "PROMOTING BY FORCE." in shown.err and f"The gate says {verdict.verdict}: {verdict.reasons[0]}" in shown.err
    assert "version 2 is marked as forced by ada: the boss wants it" in shown.err
    assert "FORCED" in shown.out
    forced = workspace.registry.champion(PUPILS)
    assert forced is not None and (forced.version, forced.run_id) == ("2", weak.run_id)
    assert forced.forced is not None and "ada" in forced.forced and "the boss wants it" in forced.forced
    entry = workspace.ledger(PUPILS).entries()[-1]
    assert (entry.event, entry.by, entry.reasons[0]) == ("forced", "ada", "the boss wants it")
    assert entry.reasons[1].startswith(f"the gate said {verdict.verdict}: ")
    later = judged(workspace)
    assert main(["promote", PUPILS, "--run", later.run_id, "--json"]) == ExitCode.OK
    assert [f["version"] for f in said(capsys)["forced_versions"]] == ["2"], "a later card tells it as well"


@pytest.mark.parametrize("flag", ["--force", "--approve", "--decline"])
@pytest.mark.parametrize("reason", [[], ["--reason", ""], ["--reason", " \n\t "]])
def test_without_a_reason_nothing_is_done(
    workspace: Workspace, flag: str, reason: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["promote", PUPILS, flag, *reason]) == ExitCode.BAD_INPUT
    assert "reason" in capsys.readouterr().err


# What is not there


def test_what_is_not_there_is_told_with_what_is(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*arguments: str) -> str:
        assert main([*arguments]) == ExitCode.BAD_INPUT
        return capsys.readouterr().err

    assert "no pipeline 'nope'; expected one of: " in refused("promote", "nope")
    assert "no run of 'pupils' has a candidate. Train one with `noria run pupils`" in refused("promote", PUPILS)
    assert "no run 'r9' of 'pupils'; expected a run such as none" in refused("promote", PUPILS, "--run", "r9")
    run = propose(workspace)
    assert f"no run 'r9' of 'pupils'; expected a run such as {run.run_id}" in refused("promote", PUPILS, "--run", "r9")
    waiting = ("promote", PUPILS, "--approve", "--reason", "x")
    assert "no candidate of 'pupils' waits for approval" in refused(*waiting)
    assert "no record of stage 'promote'" in (
        capsys.readouterr().err if main([*waiting, "--run", run.run_id]) == ExitCode.FAILED else ""
    )
    run_stage("promote", promote, run, workspace)
    assert "does not wait for approval" in refused(*waiting, "--run", run.run_id)
    assert "--reason alone; expected --approve, --decline or --force" in refused("promote", PUPILS, "--reason", "x")


def test_a_run_of_another_version_of_the_spec_is_passed_over(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    good, odd = propose(workspace), propose(workspace)
    path = run_path(PUPILS, odd.run_id, "run")
    workspace.lake.replace(path, workspace.lake.read(path).replace(b'"margin"', b'"marginn"'))
    assert main(["promote", PUPILS, "--json"]) == ExitCode.OK
    assert said(capsys)["run_id"] == good.run_id


# Rollback


def test_rollback_brings_the_one_before_back_and_lists_what_there_is(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    first = judged(workspace, trained_on=WEAK)
    judged(workspace)
    assert champion(workspace) == "2"
    assert main(["rollback", PUPILS, "--reason", "it drifts"]) == ExitCode.OK
    shown = capsys.readouterr().out
    assert shown.startswith("version 1 of pupils is the champion again, in place of version 2\nit scores r2 0.")
    assert "by ada: it drifts" in shown and champion(workspace) == "1"
    assert main(["history", PUPILS, "--json"]) == ExitCode.OK
    entry = said(capsys)["entries"][-1]
    assert (entry["event"], entry["by"], entry["run_id"]) == ("rolled_back", "ada", first.run_id)
    assert main(["rollback", PUPILS, "--to", "2", "--reason", "it was the weather", "--json"]) == ExitCode.OK
    told = said(capsys)
    assert (told["version"], told["before"], told["by"]) == ("2", "1", "ada")
    assert main(["rollback", PUPILS, "--to", "7", "--reason", "x"]) == ExitCode.BAD_INPUT
    assert (
        f"version 7 of pupils does not exist; expected one of 1. `noria rollback {PUPILS} --to 1 --reason TEXT`"
        in capsys.readouterr().err
    )


def test_rollback_needs_a_reason_a_pipeline_and_a_champion(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in [
        (["rollback", PUPILS], "no reason was given; expected --reason TEXT"),
        (["rollback", PUPILS, "--reason", " "], "the reason is empty"),
        (["rollback", "nope", "--reason", "x"], "no pipeline 'nope'"),
        (["rollback", PUPILS, "--reason", "x"], "has no champion"),
    ]:
        assert main(arguments) == ExitCode.BAD_INPUT
        assert message in capsys.readouterr().err


def test_whoever_has_no_name_cannot_act(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: (_ for _ in ()).throw(KeyError("uid 4711")))
    propose(workspace)
    assert main(["promote", PUPILS, "--force", "--reason", "x"]) == ExitCode.BAD_INPUT
    assert "has no name for user" in capsys.readouterr().err and champion(workspace) is None
