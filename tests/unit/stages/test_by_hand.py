"""A person promotes a candidate against the gate's verdict."""

import pytest
from mlflow import MlflowClient

from noria.errors import InputError
from noria.models.store import dump_model
from noria.records import ChampionVersion
from noria.stages.by_hand import force
from noria.stages.promote import promote
from noria.stages.train import MODEL
from noria.workspace import FORCED, Workspace, run_path
from tests.support.proposals import PUPILS, WEAK, propose, put
from tests.support.runs import done


def champion(workspace: Workspace) -> ChampionVersion:
    found = workspace.registry.champion(PUPILS)
    assert found is not None
    return found


def test_what_is_forced_is_the_champion_and_says_so_for_ever(workspace: Workspace) -> None:
    promote(propose(workspace), workspace)
    run = propose(workspace, trained_on=WEAK)
    done(workspace, run, "promote", promote(run, workspace))
    decision = force(run, workspace, by="ada", reason="the old one drifts")
    assert (decision.verdict, decision.forced) == ("keep", "ada: the old one drifts")
    assert decision.new_champion and (decision.champion_version, decision.previous_champion) == ("2", "1")
    assert workspace.decision(run) == decision
    assert (champion(workspace).version, champion(workspace).forced) == ("2", "ada: the old one drifts")
    entry = workspace.ledger(PUPILS).entries()[-1]
    assert (entry.event, entry.by, entry.champion_before, entry.champion_after) == ("forced", "ada", "1", "2")
    assert workspace.registry.audit(PUPILS) == []
    better = promote(propose(workspace), workspace)
    assert (better.champion_version, better.previous_champion) == ("3", "2")
    assert [v.forced for v in workspace.registry.history(PUPILS)] == [None, "ada: the old one drifts", None]


@pytest.mark.parametrize("story", ["from before the gate", "the key is lost"])
def test_a_home_whose_versions_prove_nothing_goes_on_after_a_force(workspace: Workspace, story: str) -> None:
    """The champion is not proven: that stops promotions until a person lets a new one in; then all is as ever."""
    client = MlflowClient(tracking_uri=workspace.settings.registry_url)
    if story == "the key is lost":
        for share in (WEAK, 1.0):
            promote(propose(workspace, trained_on=share), workspace)
        (workspace.settings.home / "keys" / "verdicts.key").unlink()
        workspace = Workspace(workspace.settings, workspace.lake)
    else:
        client.create_registered_model(PUPILS)
        client.create_model_version(PUPILS, "file:///tmp/x", tags={"noria.run_id": "r1"})
        client.set_registered_model_alias(PUPILS, "champion", "1")
    run = propose(workspace, trained_on=WEAK)
    stopped = promote(run, workspace)
    assert stopped.verdict == "reject" and "registry" in {r.kind for r in stopped.rules if not r.passed}
    assert f"`noria promote {PUPILS} --force --reason TEXT`" in " ".join(workspace.registry.audit(PUPILS))
    assert force(run, workspace, by="ada", reason="an old home").new_champion
    assert workspace.registry.audit(PUPILS) == [] and workspace.registry.strangers(PUPILS)
    better = promote(propose(workspace), workspace)
    assert (better.verdict, better.new_champion, better.previous_champion) == (
        "promote",
        True,
        champion(workspace).previous_champion,
    )


def test_force_overrules_a_dry_run_and_a_rejection(workspace: Workspace) -> None:
    run = propose(workspace, gate__mode="dry_run", gate__thresholds="[{metric: r2, min: 0.999}]")
    assert promote(run, workspace).verdict == "reject"
    decision = force(run, workspace, by="ada", reason="the threshold is wrong")
    assert (decision.verdict, decision.dry_run, decision.new_champion) == ("reject", False, True)
    assert champion(workspace).run_id == run.run_id


@pytest.mark.parametrize(("by", "reason", "words"), [("", "why", "who asks"), ("ada", " ", "the reason is missing")])
def test_somebody_gives_a_reason(workspace: Workspace, by: str, reason: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        force(propose(workspace), workspace, by=by, reason=reason)
    assert workspace.registry.history(PUPILS) == []


def test_what_is_the_champion_is_not_forced(workspace: Workspace) -> None:
    run = propose(workspace)
    promote(run, workspace)
    with pytest.raises(InputError, match="the champion already"):
        force(run, workspace, by="ada", reason="to be sure")
    assert champion(workspace).forced is None


@pytest.mark.parametrize("model", [b"other bytes", dump_model(object)], ids=["no model", "another model"])
def test_no_reason_makes_up_for_another_model(workspace: Workspace, model: bytes) -> None:
    run = propose(workspace)
    put(workspace, run, MODEL, model)
    with pytest.raises(InputError, match="SHA-256"):
        force(run, workspace, by="ada", reason="it must be")
    assert workspace.registry.history(PUPILS) == []


class _Killed(BaseException):
    pass


def test_a_killed_force_is_completed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(propose(workspace), workspace)
    run = propose(workspace, trained_on=WEAK)
    real = type(workspace.registry).crown
    with monkeypatch.context() as patch, pytest.raises(_Killed):

        def killed(*args: object) -> None:
            real(*args)  # type: ignore[arg-type]
            raise _Killed

        patch.setattr(type(workspace.registry), "crown", killed)
        force(run, workspace, by="ada", reason="the old one drifts")
    assert not workspace.lake.exists(run_path(PUPILS, run.run_id, FORCED))
    decision = force(run, workspace, by="ada", reason="the old one drifts")
    assert decision.new_champion and workspace.decision(run) == decision
    assert [e.event for e in workspace.ledger(PUPILS).entries()] == ["promoted", "forced"]
    assert [v.sequence for v in workspace.registry.history(PUPILS)] == [2, 1]
