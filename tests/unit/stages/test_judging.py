"""What the stages tell the gate, apart from what it makes of that."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from noria import gate
from noria.errors import SpecError
from noria.gate import Challenger, Champion, Circumstances, Holdout
from noria.models.store import load_model
from noria.pipeline import Gate
from noria.records import Candidate, Decision
from noria.stages.promote import promote
from noria.stages.rollback import rollback
from noria.workspace import Workspace
from tests.support.proposals import PUPILS, WEAK, propose, split_of, write_pipeline


class Heard:
    """What the gate was told last."""

    challenger: Challenger
    champion: Champion | None
    holdout: Holdout
    circumstances: Circumstances


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    told, decide = Heard(), gate.decide

    def listening(
        challenger: Challenger, champion: Champion | None, policy: Gate, holdout: Holdout, circumstances: Circumstances
    ) -> Decision:
        told.challenger, told.champion, told.holdout, told.circumstances = challenger, champion, holdout, circumstances
        return decide(challenger, champion, policy, holdout, circumstances)

    monkeypatch.setattr(gate, "decide", listening)
    return told


def test_the_evidence_is_made_from_bytes_and_rows(workspace: Workspace, heard: Heard) -> None:
    write_pipeline(workspace.settings.home / "pipelines", {"slices": [{"column": "gender"}, {"column": "lunch"}]})
    champion, run = (
        propose(workspace, trained_on=WEAK),
        propose(workspace, changes={"metrics": {"r2": 1.0}, "model_bytes": 1}),
    )
    promote(champion, workspace)
    decision = promote(run, workspace)
    split = split_of(run, workspace)
    assert decision.candidate_metrics["r2"] < 0.99, "what training claims is not believed"
    assert heard.holdout.target.tolist() == split.holdout.target.tolist()
    assert heard.holdout.sha256 == workspace.require(run, "train", Candidate).holdout_sha256
    assert heard.holdout.slices["lunch"].tolist() == split.holdout.features["lunch"].tolist()
    assert set(heard.holdout.slices) == {"gender", "lunch"}
    assert heard.challenger.problem is None and heard.challenger.fit_rows_differ is None
    assert heard.challenger.latency_milliseconds is not None and 0 < heard.challenger.latency_milliseconds < 5000
    assert heard.challenger.model_bytes is not None and heard.challenger.model_bytes > 1000
    assert heard.challenger.training_vcpu_seconds == 1  # what the record of the stage says
    assert heard.champion is not None and heard.champion.seen is not None and not heard.champion.seen.any()
    taken = decision.predicting
    assert taken is not None and taken.rows == 2 * len(split.holdout), "candidate and champion"
    assert 0 < taken.cpu_seconds < 60
    assert heard.circumstances.validation is not None and heard.circumstances.validation.success
    assert heard.circumstances.newest is not None and heard.circumstances.newest <= heard.circumstances.now


def test_a_clock_that_is_behind_the_lake_is_told(workspace: Workspace, heard: Heard) -> None:
    run = propose(workspace)
    behind = Workspace(workspace.settings, workspace.lake, clock=lambda: datetime(2020, 1, 1, tzinfo=UTC))
    decision = promote(run, behind)
    assert heard.circumstances.newest is not None and heard.circumstances.newest >= run.created_at
    assert decision.verdict == "reject" and "clock" in {r.kind for r in decision.rules if not r.passed}


@pytest.mark.parametrize("gone", [False, True])
def test_a_run_whose_pipeline_is_gone_has_its_own_policy_alone(workspace: Workspace, heard: Heard, gone: bool) -> None:
    run = propose(workspace)
    if gone:
        (workspace.settings.home / "pipelines" / PUPILS / "pipeline.yaml").unlink()
    promote(run, workspace)
    assert (heard.circumstances.policy_now is None) == gone


def test_a_policy_that_cannot_be_read_is_no_leave_to_go_without(workspace: Workspace) -> None:
    run = propose(workspace)
    (workspace.settings.home / "pipelines" / PUPILS / "pipeline.yaml").write_text("name: [")
    with pytest.raises(SpecError):
        promote(run, workspace)
    assert workspace.registry.history(PUPILS) == []


def test_answers_by_place_are_told(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    class ByPlace:
        def __init__(self, model: Any) -> None:
            self._model = model

        def predict(self, features: Any) -> Any:
            return self._model.predict(features)[::-1]

    monkeypatch.setattr("noria.models.answers.load_model", lambda file, sha: ByPlace(load_model(file, sha)))
    decision = promote(propose(workspace), workspace)
    assert decision.verdict == "reject"
    assert any("when the same rows come in another order" in reason for reason in decision.reasons)


def test_what_an_override_loosens_beside_the_policy_is_told(workspace: Workspace, heard: Heard) -> None:
    run = propose(workspace, expectations="[]", metrics="[mae]", holdout__salt="another")
    decision = promote(run, workspace)
    assert heard.circumstances.overridden == ("metrics", "expectations") and heard.circumstances.own_split
    assert decision.verdict == "reject" and [r.kind for r in decision.rules if not r.passed] == ["policy"]


def test_a_clock_that_is_ahead_and_the_way_back(workspace: Workspace, heard: Heard) -> None:
    """Refused by the lake's clock; what it has entered all the same stops a right one until a person confirms."""
    promote(propose(workspace, trained_on=WEAK), workspace)
    later = workspace.clock() + timedelta(days=400)
    ahead = Workspace(workspace.settings, workspace.lake, clock=lambda: later)
    run = propose(workspace)
    assert "ahead of the lake's own clock" in promote(run, ahead).reasons[0]
    refused = promote(run, workspace)
    assert refused.verdict == "reject" and "noria rollback" in "".join(r.needed or "" for r in refused.rules)
    rollback(PUPILS, workspace, to="1", by="ada", reason="the clock was wrong")
    assert promote(run, workspace).verdict == "promote"
