"""What becomes of a candidate that waits for a person."""

from datetime import timedelta
from pathlib import Path

import pytest

from noria.errors import InputError, VerdictError
from noria.ledger import Ledger
from noria.records import Decision, Run
from noria.stages.by_hand import approve
from noria.stages.promote import promote
from noria.stages.release import release
from noria.workspace import APPROVAL, Workspace, run_path
from tests.support.proposals import PUPILS, WEAK, propose, put, write_pipeline
from tests.support.runs import done


@pytest.fixture(params=["one registry", "two registries"])
def workspace(request: pytest.FixtureRequest, workspace: Workspace, database: Path, tmp_path: Path) -> Workspace:
    """A pipeline whose champions are approved by Ada or Grace."""
    write_pipeline(workspace.settings.home / "pipelines", {"approval": {"approvers": ["ada", "grace"]}})
    if request.param == "one registry":
        return workspace
    production = tmp_path / "production.db"
    production.write_bytes(database.read_bytes())
    return Workspace(workspace.settings.replace(production_url=f"sqlite:///{production}"), workspace.lake)


def ask(run: Run, workspace: Workspace) -> Decision:
    """Promote, as the job does."""
    decision = promote(run, workspace)
    done(workspace, run, "promote", decision)
    return decision


def accept(run: Run, workspace: Workspace) -> Decision:
    """Promote, approve and release, as the jobs do."""
    ask(run, workspace)
    approve(run, workspace, approved=True, by="ada", reason="looks right")
    decision = release(run, workspace)
    done(workspace, run, "release", decision)
    return decision


def events(workspace: Workspace) -> list[str]:
    return [entry.event for entry in workspace.ledger(PUPILS).entries()]


def test_what_is_approved_becomes_the_champion(workspace: Workspace) -> None:
    first = propose(workspace, trained_on=WEAK)
    waiting = ask(first, workspace)
    assert (waiting.waiting, waiting.registered_version, waiting.champion_version) == (True, "1", None)
    assert not waiting.new_champion and workspace.registry.champion(PUPILS) is None
    assert [v.is_challenger for v in workspace.staging.history(PUPILS)] == [True]
    approve(first, workspace, approved=True, by="ada", reason="looks right")
    decision = release(first, workspace)
    assert (decision.verdict, decision.waiting, decision.champion_version) == ("promote", False, "1")
    assert decision.new_champion and decision.approval is not None and decision.approval.by == "ada"
    (version,) = workspace.registry.history(PUPILS)
    assert version.crown is not None and version.crown.id == decision.verdict_id and not version.crown.entry_only
    assert decision.verdict_id != waiting.verdict_id, "what lets it in to wait makes nothing the champion"
    assert promote(first, workspace).new_champion, "who promotes it once more does not ask again"
    better = accept(propose(workspace), workspace)
    assert (better.champion_version, better.previous_champion) == ("2", "1")
    assert events(workspace) == ["staged", "approved", "promoted"] * 2
    assert workspace.registry.audit(PUPILS) == workspace.staging.audit(PUPILS) == []
    assert workspace.ledger(PUPILS).audit(workspace.registry.history(PUPILS)) == []


def test_what_is_declined_stays_where_it_is(workspace: Workspace) -> None:
    run = propose(workspace)
    ask(run, workspace)
    approve(run, workspace, approved=False, by="grace", reason="wait for the new term")
    decision = release(run, workspace)
    assert (decision.verdict, decision.waiting, decision.new_champion) == ("keep", False, False)
    assert decision.reasons == ("grace declined: wait for the new term",)
    assert workspace.registry.champion(PUPILS) is None and events(workspace) == ["staged", "declined"]


def test_no_answer_in_time_is_no(workspace: Workspace) -> None:
    run = propose(workspace)
    ask(run, workspace)
    with pytest.raises(InputError, match="waits until"):
        release(run, workspace)
    now = workspace.clock()
    late = Workspace(workspace.settings, workspace.lake, clock=lambda: now + timedelta(hours=26))
    with pytest.raises(InputError, match=r"the time to approve run .* was over"):
        approve(run, late, approved=True, by="ada", reason="sorry")
    decision = release(run, late)
    assert (decision.verdict, decision.reasons) == ("keep", ("nobody approved it within 24 hours",))
    assert release(run, late) == decision and events(workspace) == ["staged", "declined"]


def test_an_approval_is_of_one_champion_only(workspace: Workspace) -> None:
    """Two wait; the second one is released first, so nobody has seen the first one beside the new champion."""
    first, second = propose(workspace, trained_on=WEAK), propose(workspace)
    ask(first, workspace)
    approve(first, workspace, approved=True, by="ada", reason="looks right")
    accept(second, workspace)
    decision = release(first, workspace)
    assert (decision.verdict, decision.new_champion) == ("keep", False)
    assert "and ada approved it against no champion" in decision.reasons[0]
    assert decision.champion_version == workspace.registry.champion(PUPILS).version  # type: ignore[union-attr]
    assert events(workspace)[-2:] == ["approved", "kept"]


@pytest.mark.parametrize(
    ("override", "by", "words"),
    [
        ("null", "mallory", "mallory may not approve"),
        ("{approvers: [mallory], timeout_hours: 720}", "mallory", "expected nobody, since"),
        ("{approvers: [mallory, ada], timeout_hours: 720}", "mallory", "expected ada"),
        ("{timeout_hours: 720}", "mallory", "expected ada, grace"),
        ("{approvers: [ada], timeout_hours: 1}", "grace", "expected ada"),
    ],
)
def test_an_override_loosens_no_approval(workspace: Workspace, override: str, by: str, words: str) -> None:
    run = propose(workspace, gate__approval=override)
    assert ask(run, workspace).waiting
    with pytest.raises(InputError, match=words):
        approve(run, workspace, approved=True, by=by, reason="mine")
    now = workspace.clock()
    late = Workspace(workspace.settings, workspace.lake, clock=lambda: now + timedelta(hours=26))
    if "ada" in override or override == "null":
        with pytest.raises(InputError, match="was over"):
            approve(run, late, approved=True, by="ada", reason="late")
    assert release(run, late).verdict == "keep", "the folder's time is over"


def test_what_is_approved_is_judged_once_more(workspace: Workspace) -> None:
    run = propose(workspace)
    ask(run, workspace)
    approve(run, workspace, approved=True, by="ada", reason="looks right")
    stricter = {"approval": {}, "thresholds": [{"metric": "r2", "min": 0.99}]}
    write_pipeline(workspace.settings.home / "pipelines", stricter)
    decision = release(run, workspace)
    assert decision.verdict == "reject" and workspace.registry.champion(PUPILS) is None
    assert events(workspace)[-1] == "rejected"


def test_an_answer_cannot_be_made_up_or_changed(workspace: Workspace) -> None:
    run = propose(workspace)
    ask(run, workspace)
    with pytest.raises(InputError, match="mallory may not approve"):
        approve(run, workspace, approved=True, by="mallory", reason="mine")
    declined = approve(run, workspace, approved=False, by="ada", reason="no")
    assert approve(run, workspace, approved=False, by="ada", reason="no") == declined
    with pytest.raises(InputError, match="ada has declined it"):
        approve(run, workspace, approved=True, by="grace", reason="yes")
    path = run_path(PUPILS, run.run_id, APPROVAL)
    put(workspace, run, APPROVAL, workspace.lake.read(path).replace(b'"approved": false', b'"approved": true'))
    with pytest.raises(VerdictError, match="changed afterwards"):
        release(run, workspace)
    assert workspace.registry.champion(PUPILS) is None


def test_an_approval_of_another_run_does_not_count(workspace: Workspace) -> None:
    first, second = propose(workspace), propose(workspace, trained_on=WEAK)
    for run in (first, second):
        ask(run, workspace)
    approve(first, workspace, approved=True, by="ada", reason="looks right")
    put(workspace, second, APPROVAL, workspace.lake.read(run_path(PUPILS, first.run_id, APPROVAL)))
    with pytest.raises(VerdictError, match=f"of run {first.run_id}"):
        release(second, workspace)


def test_only_what_waits_can_be_approved(workspace: Workspace) -> None:
    accept(propose(workspace), workspace)
    kept = propose(workspace)
    decision = ask(kept, workspace)
    assert decision.verdict == "keep" and release(kept, workspace) == decision
    with pytest.raises(InputError, match="does not wait"):
        approve(kept, workspace, approved=True, by="ada", reason="why not")


class _Killed(BaseException):
    pass


def test_killed_at_any_step_a_release_ends_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    run, kind = propose(workspace), type(workspace.registry)
    ask(run, workspace)
    approve(run, workspace, approved=True, by="ada", reason="looks right")
    for owner, method in ((kind, "register"), (kind, "crown"), (Ledger, "append")):
        real = getattr(owner, method)

        def killed(*args: object, real: object = real, **options: object) -> None:
            real(*args, **options)  # type: ignore[operator]
            raise _Killed

        with monkeypatch.context() as patch, pytest.raises(_Killed):
            patch.setattr(owner, method, killed)
            release(run, workspace)
    decision = release(run, workspace)
    assert decision.new_champion and decision.approval is not None
    (version,) = workspace.registry.history(PUPILS)
    assert version.is_champion and version.sequence == 1
    assert events(workspace) == ["staged", "approved", "promoted"]
