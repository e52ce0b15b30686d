"""The promote stage on a real registry: verdicts, retries after a kill, two at once, and MLflow's own reader."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pytest
import yaml
from mlflow import MlflowClient

from noria.compute.process import JobProcess
from noria.ledger import Ledger
from noria.models.examples import Examples
from noria.models.store import load_model
from noria.pipeline import SampleSource
from noria.records import Candidate, Decision, Run, Snapshot
from noria.sources import open_source
from noria.stages import promote as stage
from noria.stages.by_hand import force
from noria.stages.promote import promote
from noria.stages.train import MODEL, SEEN_ROWS
from noria.workspace import Workspace, run_path
from tests.support.kept_home import KeptHome
from tests.support.proposals import PUPILS, WEAK, open_workspace, propose, put, split_of, write_pipeline


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, database: Path) -> KeptHome:
    workspace = open_workspace(tmp_path_factory.mktemp("weak-champion") / "home", database)
    promote(propose(workspace, trained_on=WEAK), workspace)
    return KeptHome.of(workspace)


@pytest.fixture
def weak_champion(kept: KeptHome) -> Workspace:
    """With a champion that any other beats."""
    return kept.again()


def failed(decision: Decision) -> set[str]:
    """Kinds of the rules that were not met."""
    return {rule.kind for rule in decision.rules if not rule.passed}


def events(workspace: Workspace) -> list[tuple[str, str | None, str | None]]:
    """What the ledger says: event, champion before, champion after."""
    return [(e.event, e.champion_before, e.champion_after) for e in workspace.ledger(PUPILS).entries()]


def test_promote_then_keep_then_promote_the_better_one(workspace: Workspace) -> None:
    first = promote(propose(workspace, trained_on=WEAK), workspace)
    assert (first.verdict, first.champion_version, first.previous_champion) == ("promote", "1", None)
    again = promote(propose(workspace, trained_on=WEAK), workspace)
    assert (again.verdict, again.champion_version, again.registered_version) == ("keep", "1", None)
    assert again.champion_metrics == pytest.approx(again.candidate_metrics)
    better = promote(propose(workspace), workspace)
    assert (better.verdict, better.champion_version, better.previous_champion) == ("promote", "2", "1")
    assert better.new_champion and better.verdict_id == workspace.registry.history(PUPILS)[0].verdict.id  # type: ignore[union-attr]
    worse = promote(propose(workspace, trained_on=WEAK), workspace)
    assert worse.verdict == "keep" and "does not beat champion version 2" in worse.reasons[0]
    assert [v.version for v in workspace.registry.history(PUPILS)] == ["2", "1"]
    assert events(workspace) == [
        ("promoted", None, "1"), ("kept", "1", "1"), ("promoted", "1", "2"), ("kept", "2", "2"),
    ]  # fmt: skip
    assert workspace.registry.audit(PUPILS) == workspace.ledger(PUPILS).audit() == []


def dump(workspace: Workspace) -> list[str]:
    """All that the registry's database holds."""
    with sqlite3.connect(workspace.settings.registry_url.removeprefix("sqlite:///")) as database:
        return list(database.iterdump())


def test_rejected_and_dry_runs_leave_the_registry_alone(weak_champion: Workspace) -> None:
    workspace = weak_champion
    before = dump(workspace)
    rejected = promote(propose(workspace, gate__thresholds="[{metric: r2, min: 0.999}]"), workspace)
    assert rejected.verdict == "reject" and "threshold" in rejected.reasons[0]
    dry = promote(propose(workspace, gate__mode="dry_run"), workspace)
    assert (dry.verdict, dry.dry_run, dry.champion_version, dry.new_champion) == ("promote", True, "1", False)
    assert dump(workspace) == before
    assert [event for event, *_ in events(workspace)] == ["promoted", "rejected", "dry_run"]


@pytest.mark.parametrize(("damage", "words"), [("changed", "SHA-256"), ("gone", "model.skops")])
def test_a_champion_that_cannot_be_loaded_is_named_and_stays(weak_champion: Workspace, damage: str, words: str) -> None:
    workspace = weak_champion
    (model,) = (workspace.settings.home / "registry" / "artifacts").rglob("model.skops")
    if damage == "gone":
        model.unlink()
    else:
        model.write_bytes(model.read_bytes() + b"x")
    decision = promote(propose(workspace), workspace)
    assert (decision.verdict, decision.champion_version, failed(decision)) == ("keep", "1", {"champion"})
    assert words in decision.reasons[0] and decision.champion_metrics is None


def test_a_champion_that_is_gone_is_no_free_win_where_it_need_not_be_beaten(workspace: Workspace) -> None:
    write_pipeline(workspace.settings.home / "pipelines", {"beat_champion": "advisory"})
    promote(propose(workspace, trained_on=WEAK), workspace)
    next((workspace.settings.home / "registry" / "artifacts").rglob("model.skops")).unlink()
    decision = promote(propose(workspace), workspace)
    assert (decision.verdict, failed(decision)) == ("reject", {"registry", "champion"})


def test_a_champion_of_other_features_is_scored_by_its_own(workspace: Workspace) -> None:
    first = propose(workspace)
    promote(first, workspace)
    decision = promote(propose(workspace, features="[gender, reading_score]"), workspace)
    assert decision.verdict == "keep" and decision.champion_metrics is not None
    assert decision.champion_metrics == pytest.approx(workspace.require(first, "train", Candidate).metrics)


def test_mlflow_reads_the_champion_without_noria(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    run = propose(workspace, kind="xgboost")
    promote(run, workspace)
    rows = split_of(run, workspace).holdout.features
    with workspace.lake.local(workspace.require(run, "train", Candidate).model) as file:
        expected = load_model(file).predict(rows)
    for name in [name for name in sys.modules if name.partition(".")[0] == "noria"]:
        monkeypatch.setitem(sys.modules, name, None)  # nothing of it can be imported
    monkeypatch.setenv("MLFLOW_TRACKING_URI", workspace.settings.registry_url)
    said = mlflow.pyfunc.load_model(f"models:/{PUPILS}@champion").predict(rows)
    assert said.tolist() == pytest.approx(expected.tolist())


def rows_of(examples: Examples) -> list[bytes]:
    """Values of rows."""
    frame = zip(examples.features.itertuples(index=False), examples.target, strict=True)
    return [repr((*row, y)).encode() for row, y in frame]


@pytest.mark.parametrize("changes", [{"holdout__share": "0.1"}, {"holdout__salt": "other"}], ids=["share", "salt"])
@pytest.mark.parametrize("file", ["there", "gone"])
def test_rows_that_the_champion_has_seen_are_left_out_and_counted(
    workspace: Workspace, changes: dict[str, str], file: str
) -> None:
    """The champion was trained on most rows of today's holdout: another share or another salt was promoted."""
    first = propose(workspace, rows=600, trained_on=WEAK, **changes)
    promote(first, workspace)
    if file == "gone":
        workspace.lake.remove(run_path(PUPILS, first.run_id, SEEN_ROWS))
    second = propose(workspace, rows=600)
    decision = promote(second, workspace)
    leaked = set(rows_of(split_of(first, workspace).train)) & set(rows_of(split_of(second, workspace).holdout))
    assert decision.comparison is not None
    assert decision.comparison.leaked_rows == len(leaked) > 50
    assert decision.compared_rows == decision.comparison.rows
    assert decision.comparison.rows + len(leaked) == len(split_of(second, workspace).holdout)
    assert f"{decision.comparison.rows} holdout rows that neither has seen" in decision.rules[-1].detail


def wider(workspace: Workspace, file: Path, gate: dict[str, Any] | None = None) -> None:
    """The pipeline and its source get another column."""
    open_source(SampleSource(rows=600), workspace.settings).fetch(file)
    header, *lines = file.read_text().splitlines()
    file.write_text("\n".join([f"{header},hours", *(f"{line},{i % 7}" for i, line in enumerate(lines))]) + "\n")
    folder = write_pipeline(workspace.settings.home / "pipelines", gate)
    spec = folder / PUPILS / "pipeline.yaml"
    changed = yaml.safe_load(spec.read_text())
    changed["columns"].append({"name": "hours", "type": "integer"})
    spec.write_text(yaml.safe_dump(changed))


def test_an_added_column_draws_another_holdout_and_both_are_judged_anew(workspace: Workspace, tmp_path: Path) -> None:
    """Every row's hash changes with the columns, so part of today's holdout was in the champion's training rows."""
    first = propose(workspace, rows=600)
    promote(first, workspace)
    wider(workspace, tmp_path / "more.csv")
    decision = promote(propose(workspace, source=(tmp_path / "more.csv").as_uri()), workspace)
    assert decision.comparison is not None and decision.champion_metrics is not None
    assert 30 <= decision.comparison.rows < 100 < decision.comparison.leaked_rows
    assert decision.champion_metrics != workspace.require(first, "train", Candidate).metrics


def test_a_column_that_changed_keeps_nobody_from_telling_who_has_seen_what(workspace: Workspace) -> None:
    """Today's hashes are of other columns; the champion's own snapshot says which rows it has seen."""
    first = propose(workspace, rows=600, trained_on=WEAK, columns__3__type="string", holdout__salt="other")
    promote(first, workspace)
    second = propose(workspace, rows=600)
    decision = promote(second, workspace)
    leaked = set(rows_of(split_of(first, workspace).train)) & set(rows_of(split_of(second, workspace).holdout))
    assert decision.comparison is not None and decision.comparison.leaked_rows == len(leaked) > 50


def test_a_holdout_that_grew_is_judged_anew(workspace: Workspace) -> None:
    first = propose(workspace, rows=300, trained_on=WEAK)
    promote(first, workspace)
    grown = propose(workspace, rows=900)
    decision = promote(grown, workspace)
    assert (decision.verdict, decision.champion_version) == ("promote", "2")
    assert decision.comparison is not None and decision.comparison.leaked_rows == 0
    assert decision.comparison.rows == workspace.require(grown, "train", Candidate).holdout_rows > 200
    assert decision.champion_metrics != workspace.require(first, "train", Candidate).metrics


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": 160, "holdout__salt": "other"}, "holdout rows are seen by neither"),
        ({"columns__3__type": "string", "snapshot": "gone"}, "the snapshot of its run"),
    ],
)
def test_a_champion_that_cannot_be_compared_is_named_and_stays(
    workspace: Workspace, changes: dict[str, Any], words: str
) -> None:
    rows, snapshot = changes.pop("rows", 300), changes.pop("snapshot", "there")
    first = propose(workspace, rows=rows, trained_on=0.1, **changes)
    promote(first, workspace)
    if snapshot == "gone":
        workspace.lake.remove(run_path(PUPILS, first.run_id, "ingest"))
    decision = promote(propose(workspace, rows=rows), workspace)
    assert (decision.verdict, decision.champion_version) == ("keep", "1")
    assert any(words in reason for reason in decision.reasons), decision.reasons


def test_a_candidate_that_has_seen_the_holdout_is_rejected(weak_champion: Workspace) -> None:
    workspace = weak_champion
    decision = promote(propose(workspace, leaked=40), workspace)
    assert (decision.verdict, decision.champion_version) == ("reject", "1")
    assert failed(decision) == {"leakage"} and "has seen 40 of the" in decision.reasons[0]


@pytest.mark.parametrize(
    ("file", "data", "kind", "words"),
    [
        (SEEN_ROWS, b"", "leakage", "not known which rows"),
        (SEEN_ROWS, None, "leakage", "is gone"),
        (MODEL, b"another model", "predictions", "SHA-256"),
        (MODEL, None, "predictions", "is gone"),
    ],
)
def test_what_training_left_must_be_what_it_says(
    workspace: Workspace, file: str, data: bytes | None, kind: str, words: str
) -> None:
    run = propose(workspace)
    workspace.lake.remove(run_path(PUPILS, run.run_id, file))
    if data is not None:
        put(workspace, run, file, data)
    decision = promote(run, workspace)
    assert (decision.verdict, decision.champion_version) == ("reject", None)
    assert kind in failed(decision) and any(words in reason for reason in decision.reasons), decision.reasons
    assert workspace.registry.history(PUPILS) == []


def test_a_run_that_was_tuned_on_other_rows_is_rejected(workspace: Workspace) -> None:
    decision = promote(propose(workspace, changes={"holdout_sha256": "0" * 64}), workspace)
    assert decision.verdict == "reject" and failed(decision) == {"leakage"}


def test_a_policy_that_is_loosened_does_not_count(workspace: Workspace) -> None:
    write_pipeline(workspace.settings.home / "pipelines", {"thresholds": [{"metric": "r2", "min": 0.95}]})
    overridden = promote(propose(workspace, gate__thresholds="[]"), workspace)
    assert overridden.verdict == "reject" and failed(overridden) == {"policy"}
    run = propose(workspace)
    path = run_path(PUPILS, run.run_id, "run")
    workspace.lake.replace(path, workspace.lake.read(path).replace(b'"min": 0.95', b'"min": 0.5'))
    edited = promote(workspace.load_run(PUPILS, run.run_id), workspace)
    assert edited.verdict == "reject" and failed(edited) == {"policy"}
    assert any("changed between training and promotion" in reason for reason in edited.reasons)


def test_approval_cannot_be_overridden(workspace: Workspace) -> None:
    write_pipeline(workspace.settings.home / "pipelines", {"approval": {}})
    decision = promote(propose(workspace, gate__approval="null"), workspace)
    assert decision.waiting and not decision.new_champion and workspace.registry.champion(PUPILS) is None


def test_a_registry_that_was_written_to_by_hand_stops_every_candidate(weak_champion: Workspace) -> None:
    workspace = weak_champion
    client = MlflowClient(tracking_uri=workspace.settings.registry_url)
    source = client.get_model_version(PUPILS, "1").source
    by_hand = client.create_model_version(PUPILS, source)
    client.set_registered_model_alias(PUPILS, "champion", by_hand.version)
    decision = promote(propose(workspace), workspace)
    assert (decision.verdict, failed(decision), decision.previous_champion) == ("reject", {"registry"}, "1")


def test_looks_at_one_holdout_are_counted(workspace: Workspace) -> None:
    promote(propose(workspace), workspace)
    looks = []
    for share in (0.3, 0.4, 0.4, 0.5):
        comparison = promote(propose(workspace, trained_on=share), workspace).comparison
        assert comparison is not None
        looks.append((comparison.looks, comparison.alpha_spent))
    assert [number for number, _ in looks] == [1, 2, 2, 3]
    assert looks[0][1] > looks[1][1] > looks[3][1]


def test_stale_verdicts_are_judged_again(weak_champion: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another lake has a lock of its own: only the registry tells that its champion has changed meanwhile."""
    workspace = weak_champion
    other_lake = workspace.settings.replace(lake_url=str(workspace.settings.home / "other-lake"))
    elsewhere = Workspace.open(other_lake)
    rival, mine, judge, judged = propose(elsewhere), propose(workspace), stage.judge, []

    def interrupted(*args: Any) -> Decision:
        decision = judge(*args)
        judged.append(decision)
        if len(judged) == 1:  # what follows judges through this function too
            promote(rival, elsewhere)
        return decision

    monkeypatch.setattr(stage, "judge", interrupted)
    decision = promote(mine, workspace)
    assert [(d.verdict, d.previous_champion) for d in judged] == [("promote", "1"), ("promote", "1"), ("keep", "2")]
    assert (decision.verdict, decision.champion_version) == ("keep", "2")
    assert [v.sequence for v in workspace.registry.history(PUPILS)][:2].count(2) == 1
    assert events(workspace)[-1] == ("kept", "2", "2")


class _Killed(BaseException):
    pass


def killed_after(patch: pytest.MonkeyPatch, owner: type, method: str) -> None:
    """The next call of a method is the last thing that happens."""
    real = getattr(owner, method)

    def call(*args: Any, **options: Any) -> None:
        real(*args, **options)
        raise _Killed

    patch.setattr(owner, method, call)


def test_a_late_retry_tells_of_the_newer_champion(weak_champion: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after it was made the champion, retried after another run was promoted."""
    workspace = weak_champion
    late = propose(workspace, trained_on=0.16)
    with monkeypatch.context() as patch:
        killed_after(patch, type(workspace.registry), "crown")
        with pytest.raises(_Killed):
            promote(late, workspace)
    newer = promote(propose(workspace), workspace)
    assert (newer.champion_version, newer.new_champion) == ("3", True)
    decision = promote(late, workspace)
    assert (decision.verdict, decision.registered_version, decision.champion_version) == ("promote", "2", "3")
    assert not decision.new_champion
    assert decision.reasons[-1] == "version 2 is registered, but a newer champion, version 3, stands"
    assert events(workspace) == [("promoted", None, "1"), ("promoted", "1", "2"), ("promoted", "2", "3")]
    assert workspace.registry.audit(PUPILS) == workspace.ledger(PUPILS).audit() == []


def test_a_verdict_that_was_edited_after_a_kill_is_not_used(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = propose(workspace)
    with monkeypatch.context() as patch:
        killed_after(patch, type(workspace.registry), "register")
        with pytest.raises(_Killed):
            promote(run, workspace)
    path = run_path(PUPILS, run.run_id, "verdict.json")
    edited = workspace.lake.read(path).replace(b'"sequence": 1', b'"sequence": 7')
    workspace.lake.replace(path, edited)
    decision = promote(run, workspace)
    (version,) = workspace.registry.history(PUPILS)
    assert version.is_champion and version.sequence == 1 and version.verdict is not None
    assert decision.verdict_id == version.verdict.id and version.verdict.id.encode() not in edited


def test_what_was_begun_and_not_crowned_is_judged_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed when it was registered, and tried again when the policy asks for more."""
    run = propose(workspace)
    with monkeypatch.context() as patch:
        killed_after(patch, type(workspace.registry), "register")
        with pytest.raises(_Killed):
            promote(run, workspace)
    write_pipeline(workspace.settings.home / "pipelines", {"thresholds": [{"metric": "r2", "min": 0.999}]})
    decision = promote(run, workspace)
    assert (decision.verdict, failed(decision)) == ("reject", {"policy"})
    assert workspace.registry.champion(PUPILS) is None and events(workspace) == [("rejected", None, None)]


def test_rows_that_are_only_said_to_be_seen_are_compared(workspace: Workspace) -> None:
    """Somebody adds rows of the holdout to the list of those that the champion was trained on."""
    first, second = propose(workspace), propose(workspace, trained_on=WEAK)
    promote(first, workspace)
    hashes = split_of(first, workspace).holdout.hashes
    path = run_path(PUPILS, first.run_id, SEEN_ROWS)
    workspace.lake.replace(path, workspace.lake.read(path) + hashes[: len(hashes) // 2].tobytes())
    comparison = promote(second, workspace).comparison
    assert comparison is not None and (comparison.rows, comparison.leaked_rows) == (len(hashes), 0)


def test_a_holdout_rule_that_was_changed_by_hand_is_not_believed(weak_champion: Workspace) -> None:
    workspace = weak_champion
    rule = workspace.registry.history(PUPILS)[0].holdout
    assert rule is not None
    mine = rule.model_copy(update={"salt": "mine"}).model_dump_json()
    client = MlflowClient(tracking_uri=workspace.settings.registry_url)
    client.set_model_version_tag(PUPILS, "1", "noria.holdout", mine)
    decision = promote(propose(workspace), workspace)
    assert (decision.verdict, failed(decision)) == ("reject", {"registry", "champion"})
    assert "is not what was signed" in next(r.detail for r in decision.rules if r.kind == "champion")


def test_rows_that_a_forced_champion_has_seen_are_left_out(workspace: Workspace) -> None:
    leaked = propose(workspace, leaked=20)
    assert promote(leaked, workspace).verdict == "reject"
    force(leaked, workspace, by="ada", reason="the old one is broken")
    comparison = promote(propose(workspace), workspace).comparison
    assert comparison is not None and comparison.leaked_rows == 20


@pytest.mark.parametrize("registries", ["one", "two"])
def test_killed_at_any_step_a_retry_ends_with_one_version_one_crown_and_one_entry(
    tmp_path: Path, workspace: Workspace, database: Path, monkeypatch: pytest.MonkeyPatch, registries: str
) -> None:
    if registries == "two":
        url = tmp_path / "production.db"
        url.write_bytes(database.read_bytes())
        settings = workspace.settings.replace(production_url=f"sqlite:///{url}")
        workspace = Workspace(settings, workspace.lake)
    run, kind = propose(workspace), type(workspace.registry)
    steps: list[tuple[type, str]] = [(kind, "register"), (kind, "crown"), (Ledger, "append")]
    for owner, method in steps:
        with monkeypatch.context() as patch, pytest.raises(_Killed):
            killed_after(patch, owner, method)
            promote(run, workspace)
    decision = promote(run, workspace)
    (version,) = workspace.registry.history(PUPILS)
    assert (decision.verdict, decision.champion_version, decision.previous_champion) == ("promote", "1", None)
    assert version.is_champion and version.sequence == 1 and version.verdict is not None
    (entry,) = workspace.ledger(PUPILS).entries()
    assert decision.verdict_id == version.verdict.id == entry.verdict_id
    assert entry.event == "promoted" and workspace.registry.audit(PUPILS) == []
    waiting = workspace.staging.history(PUPILS)
    assert [v.model_sha256 for v in waiting] == [version.model_sha256]
    assert waiting[0].is_champion == (registries == "one")


# Each names a call of the registry's client, or of the ledger, after which the process is killed.
STEPS = (
    "create_run", "log_artifacts", "create_registered_model", "create_model_version", "set_registered_model_alias",
    "set_model_version_tag", "append",
)  # fmt: skip
KILLER = """
import os, signal, sys
import mlflow, mlflow.store.tracking.sqlalchemy_store, pandas, skops.io, sklearn.compose
from noria.jobs.runner import main
from noria.ledger import Ledger
from noria.stages.promote import promote

def attempt(name):
    owner = Ledger if name == "append" else mlflow.MlflowClient
    real = getattr(owner, name)
    def killed(*args, **options):
        real(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, killed)
    main("promote", promote)

steps = sys.argv.pop(1).split(",")
for step in steps:
    child = os.fork()
    if not child:
        attempt(step)
    print(step, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.slow
def test_killed_anywhere_a_retry_ends_with_one_version(workspace: Workspace) -> None:
    """One kill after the other over one run: every retry comes further, and the last one finishes."""
    run = propose(workspace)
    killer = subprocess.run(
        [sys.executable, "-c", KILLER, ",".join(STEPS), "--pipeline", PUPILS, "--run-id", run.run_id],
        check=True, env=workspace.settings.child_environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert killer.stdout.splitlines() == [f"{step} {-signal.SIGKILL}" for step in STEPS], killer.stderr
    JobProcess("promote", run, workspace.settings).run()
    decision = workspace.require(run, "promote", Decision)
    (version,) = workspace.registry.history(PUPILS)
    assert (decision.verdict, decision.champion_version, decision.previous_champion) == ("promote", "1", None)
    assert version.is_champion and version.run_id == run.run_id
    assert events(workspace) == [("promoted", None, "1")] and workspace.registry.audit(PUPILS) == []
    client = MlflowClient(tracking_uri=workspace.settings.registry_url)
    (tracked,) = client.search_runs([client.get_experiment_by_name(PUPILS).experiment_id])
    figures = {f"holdout_{name}": value for name, value in decision.candidate_metrics.items()}
    assert {k: v for k, v in tracked.data.metrics.items() if k in figures} == pytest.approx(figures)
    assert tracked.data.params["estimator"] == "ridge"


@pytest.mark.slow
def test_two_promotions_at_once(workspace: Workspace) -> None:
    """Whoever comes second is judged beside the first."""
    runs = [propose(workspace), propose(workspace)]
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "noria.jobs.promote", "--pipeline", PUPILS, "--run-id", run.run_id],
            env=workspace.settings.child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for run in runs
    ]  # fmt: skip
    said = [child.communicate(timeout=200) for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    decisions = [workspace.require(run, "promote", Decision) for run in runs]
    assert sorted(d.verdict for d in decisions) == ["keep", "promote"]
    assert {d.champion_version for d in decisions} == {"1"}
    assert len(workspace.registry.history(PUPILS)) == 1
    assert events(workspace) == [("promoted", None, "1"), ("kept", "1", "1")]


def test_an_unfinished_run_has_no_candidate(workspace: Workspace) -> None:
    run: Run = workspace.create_run(PUPILS, "r1")
    with pytest.raises(Exception, match="no record of stage 'train'"):
        promote(run, workspace)
    assert workspace.find(run, "ingest", Snapshot) is None
