"""The promote stage on a real registry: verdicts, retries after a kill, two at once, and MLflow's own reader."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient

from noria.compute.process import JobProcess
from noria.models.build import build_model
from noria.models.examples import Examples, Split, load_split
from noria.models.metrics import evaluate
from noria.models.problem import Problem
from noria.models.store import dump_model, load_model, model_types
from noria.pipeline import SampleSource
from noria.records import Candidate, Decision, Metrics, Run, Snapshot, StageRun, Usage
from noria.settings import CHECKOUT, Settings
from noria.sources import open_source
from noria.stages.ingest import ingest
from noria.stages.promote import LEAST_SHARED_ROWS, promote
from noria.workspace import Workspace, run_path, to_json


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that knows nothing; it takes seconds to make, so that it is made once and copied."""
    home = tmp_path_factory.mktemp("empty")
    settings = Settings.from_env(home=home)
    assert Workspace.open(settings).registry.history("students") == []
    return home / "registry" / "mlflow.db"


@pytest.fixture
def workspace(tmp_path: Path, empty_registry: Path) -> Workspace:
    folder = tmp_path / "home" / "registry"
    folder.mkdir(parents=True)
    shutil.copy(empty_registry, folder)
    return Workspace.open(Settings.from_env(home=tmp_path / "home"))


def publish(run: Run, workspace: Workspace, stage: str, record: Snapshot | Candidate) -> None:
    usage = Usage(wall_seconds=0, cpu_seconds=0, peak_rss_bytes=0, vcpu_seconds=0)
    now = workspace.clock()
    envelope = StageRun(
        pipeline=run.pipeline.name, run_id=run.run_id, stage=stage, started_at=now, finished_at=now, usage=usage,
        record=record.model_dump(mode="json"),
    )  # fmt: skip
    workspace.lake.create(run_path(run.pipeline.name, run.run_id, stage), to_json(envelope))


def propose(
    workspace: Workspace,
    *,
    kind: str = "ridge",
    rows: int = 300,
    trained_on: float = 1.0,
    source: str = "",
    pipeline: str = "students",
    **overrides: str,
) -> Run:
    """A run whose candidate waits for the gate; `trained_on` is the share of training rows that its model saw."""
    changes = {k.replace("__", "."): v for k, v in overrides.items()}
    run = workspace.create_run(pipeline, source=source or f"sample://students?rows={rows}", overrides=changes)
    snapshot = ingest(run, workspace)
    publish(run, workspace, "ingest", snapshot)
    with workspace.lake.local(snapshot.table) as table:
        split = load_split(table, run.pipeline)
    publish(run, workspace, "train", candidate(run, snapshot, split, kind, trained_on, workspace))
    return run


def candidate(run: Run, snapshot: Snapshot, split: Split, kind: str, share: float, workspace: Workspace) -> Candidate:
    rows = split.train.take(np.arange(max(2, int(share * len(split.train)))))
    model = build_model(split.problem, kind, {}, 1).fit(rows.features, rows.target)
    dummy = build_model(split.problem, "dummy", {}, 1).fit(split.train.features, split.train.target)
    data = dump_model(model)
    path = run_path(run.pipeline.name, run.run_id, "train/model.skops")
    workspace.lake.replace(path, data)
    baseline = evaluate(split.problem, dummy, split.holdout)
    return Candidate(
        snapshot_id=snapshot.snapshot_id, task="regression", target=run.pipeline.target, features=run.pipeline.features,
        estimator=kind, params={}, primary_metric="r2", spread={},
        metrics=evaluate(split.problem, model, split.holdout),
        baselines={"dummy": baseline, "linear": baseline}, contenders=(), learning_curve=(), trials=1,
        train_rows=len(split.train), holdout_rows=len(split.holdout), holdout_sha256=split.holdout_sha256, seed=1,
        code=run.code, model=path, model_sha256=hashlib.sha256(data).hexdigest(), model_bytes=len(data),
        model_types=model_types(data), cluster="none",
    )  # fmt: skip


def test_promote_then_keep_then_promote_the_better_one(workspace: Workspace) -> None:
    first = promote(propose(workspace, trained_on=0.1, gate__thresholds="[]"), workspace)
    assert (first.verdict, first.champion_version, first.previous_champion) == ("promote", "1", None)
    again = promote(propose(workspace, trained_on=0.1, gate__thresholds="[]"), workspace)
    assert (again.verdict, again.champion_version) == ("keep", "1")
    assert again.champion_metrics == pytest.approx(again.candidate_metrics)
    better = promote(propose(workspace), workspace)
    assert (better.verdict, better.champion_version, better.previous_champion) == ("promote", "2", "1")
    assert [v.version for v in workspace.registry.history("students")] == ["2", "1"]
    worse = promote(propose(workspace, trained_on=0.1, gate__thresholds="[]"), workspace)
    assert worse.verdict == "keep" and "does not beat champion version 2" in worse.reasons[0]


def test_rejected_and_dry_runs_leave_the_registry_alone(workspace: Workspace) -> None:
    rejected = promote(propose(workspace, gate__thresholds="[{metric: r2, min: 0.999}]"), workspace)
    assert rejected.verdict == "reject" and "threshold" in rejected.reasons[0]
    dry = promote(propose(workspace, gate__mode="dry_run"), workspace)
    assert dry.verdict == "promote" and dry.dry_run and dry.champion_version is None
    assert workspace.registry.history("students") == []


def test_a_champion_that_was_tampered_with_is_named_and_replaced(workspace: Workspace) -> None:
    promote(propose(workspace), workspace)
    (model,) = (workspace.settings.home / "registry" / "artifacts").rglob("model.skops")
    model.write_bytes(model.read_bytes() + b"x")
    decision = promote(propose(workspace, trained_on=0.5), workspace)
    assert decision.verdict == "promote" and decision.champion_version == "2"
    assert "champion version 1 cannot be compared: " in decision.reasons[0]
    assert "SHA-256" in decision.reasons[0]


def test_a_champion_of_other_features_is_named_and_replaced(workspace: Workspace) -> None:
    promote(propose(workspace), workspace)
    decision = promote(propose(workspace, features="[gender, reading_score]", gate__thresholds="[]"), workspace)
    assert decision.verdict == "promote" and "cannot be compared" in decision.reasons[0]


def test_mlflow_reads_the_champion_without_noria(workspace: Workspace) -> None:
    run = propose(workspace, kind="xgboost")
    promote(run, workspace)
    snapshot = workspace.require(run, "ingest", Snapshot)
    with workspace.lake.local(snapshot.table) as table:
        frame = load_split(table, run.pipeline).holdout.features
        frame.to_parquet(workspace.settings.home / "holdout.parquet")
    script = (
        "import sys, mlflow, pandas as pd\n"
        "mlflow.set_tracking_uri(sys.argv[1])\n"
        "model = mlflow.pyfunc.load_model('models:/students@champion')\n"
        "print(*model.predict(pd.read_parquet(sys.argv[2])).tolist())"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, workspace.settings.registry_url, workspace.settings.home / "holdout.parquet"],
        check=True, capture_output=True, text=True, env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
    ).stdout  # fmt: skip
    with workspace.lake.local(workspace.require(run, "train", Candidate).model) as file:
        expected = load_model(file).predict(frame)
    assert [float(value) for value in said.split()] == pytest.approx(expected.tolist())


def seen_by(run: Run, workspace: Workspace) -> set[bytes]:
    """Values of the rows that the run's model was trained on."""
    snapshot = workspace.require(run, "ingest", Snapshot)
    with workspace.lake.local(snapshot.table) as table:
        return set(_rows(load_split(table, run.pipeline).train))


def _rows(rows: Examples) -> list[bytes]:
    return [repr((*row, y)).encode() for row, y in zip(rows.features.itertuples(index=False), rows.target, strict=True)]


@pytest.mark.parametrize("changes", [{"holdout__share": "0.1"}, {"holdout__salt": "other"}], ids=["share", "salt"])
def test_a_champion_is_judged_only_on_rows_that_it_has_not_seen(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str]
) -> None:
    """The champion was trained on most rows of today's holdout: another share or another salt was promoted."""
    first = propose(workspace, rows=600, gate__thresholds="[]", **changes)
    promote(first, workspace)
    second = propose(workspace, rows=600, gate__thresholds="[]")
    leaked = seen_by(first, workspace)
    judged: list[list[bytes]] = []
    module = sys.modules["noria.stages.promote"]

    def watched(problem: Problem, model: Any, rows: Examples) -> Metrics:
        judged.append(_rows(rows))
        return evaluate(problem, model, rows)

    monkeypatch.setattr(module, "evaluate", watched)
    decision = promote(second, workspace)
    mine = workspace.require(second, "train", Candidate)
    assert [len(rows) for rows in judged] == [decision.compared_rows] * 2
    assert LEAST_SHARED_ROWS <= len(judged[0]) < mine.holdout_rows
    assert leaked.isdisjoint(judged[0]) and judged[0] == judged[1]
    assert decision.compared_metrics is not None and decision.compared_metrics != mine.metrics
    assert decision.candidate_metrics == mine.metrics
    assert f"on the {len(judged[0])} holdout rows that neither has seen" in decision.rules[-1].detail


def test_an_added_column_draws_another_holdout(workspace: Workspace, tmp_path: Path) -> None:
    """Every row's hash changes with the columns, so part of today's holdout was in the champion's training rows."""
    file = tmp_path / "more.csv"
    open_source(SampleSource(rows=600), workspace.settings).fetch(file)
    header, *lines = file.read_text().splitlines()
    wider = [f"{header},hours", *(f"{line},{i % 7}" for i, line in enumerate(lines))]
    first = propose(workspace, rows=600)
    promote(first, workspace)
    file.write_text("\n".join(wider) + "\n")
    spec = yaml.safe_load((CHECKOUT / "include/pipelines/students/pipeline.yaml").read_text())
    spec["columns"].append({"name": "hours", "type": "integer"})
    folder = tmp_path / "pipelines" / "students"
    folder.mkdir(parents=True)
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(spec))
    changed = Workspace(workspace.settings.replace(pipelines=(folder.parent,)), workspace.lake)
    decision = promote(propose(changed, source=file.as_uri()), changed)
    assert decision.compared_rows is not None and LEAST_SHARED_ROWS <= decision.compared_rows < 100
    assert decision.champion_metrics is not None and "cannot be compared" not in decision.rules[-1].detail


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": 80, "holdout__salt": "other"}, "has seen all but"),
        ({"columns__3__type": "string"}, "of another type now: lunch"),
    ],
)
def test_a_champion_that_cannot_be_compared_is_named_and_replaced(
    workspace: Workspace, changes: dict[str, Any], words: str
) -> None:
    rows = changes.pop("rows", 300)
    promote(propose(workspace, rows=rows, gate__thresholds="[]", **changes), workspace)
    decision = promote(propose(workspace, rows=rows, gate__thresholds="[]"), workspace)
    assert (decision.verdict, decision.champion_version) == ("promote", "2")
    assert "champion version 1 cannot be compared: " in decision.reasons[0] and words in decision.reasons[0]
    assert decision.champion_metrics is None and decision.compared_rows is None


def test_one_rule_means_the_whole_holdout_and_the_same_figures(workspace: Workspace) -> None:
    first = propose(workspace, rows=60, gate__thresholds="[]")
    promote(first, workspace)
    decision = promote(propose(workspace, rows=60, gate__thresholds="[]"), workspace)
    assert decision.champion_metrics == workspace.require(first, "train", Candidate).metrics
    assert decision.compared_rows is None and decision.compared_metrics is None
    assert decision.reasons[0].endswith("on the same holdout")


def test_a_late_retry_tells_of_the_newer_champion(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after its version was made, retried after another run was promoted."""
    promote(propose(workspace, trained_on=0.1, gate__thresholds="[]"), workspace)
    late = propose(workspace, trained_on=0.3, gate__thresholds="[]")
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(MlflowClient, "set_registered_model_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            promote(late, workspace)
    newer = promote(propose(workspace), workspace)
    assert (newer.champion_version, newer.new_champion) == ("3", True)
    decision = promote(late, workspace)
    assert (decision.verdict, decision.registered_version, decision.champion_version) == ("promote", "2", "3")
    assert not decision.new_champion
    assert decision.reasons[-1] == "version 2 is registered, but a newer champion, version 3, stands"


# Each names a call of the registry's client after which the process is killed.
STEPS = ("create_registered_model", "create_run", "log_artifacts", "create_model_version", "set_registered_model_alias")
KILLER = """
import os, signal, sys
import mlflow, mlflow.store.tracking.sqlalchemy_store
from noria.jobs.runner import main
from noria.stages.promote import promote

def attempt(name):
    real = getattr(mlflow.MlflowClient, name)
    def killed(*args, **options):
        real(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(mlflow.MlflowClient, name, killed)
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
        [sys.executable, "-c", KILLER, ",".join(STEPS), "--pipeline", "students", "--run-id", run.run_id],
        check=True, env=workspace.settings.child_environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert killer.stdout.splitlines() == [f"{step} {-signal.SIGKILL}" for step in STEPS], killer.stderr
    JobProcess("promote", run, workspace.settings).run()
    decision = workspace.require(run, "promote", Decision)
    (version,) = workspace.registry.history("students")
    assert (decision.verdict, decision.champion_version, decision.previous_champion) == ("promote", "1", None)
    assert version.is_champion and version.run_id == run.run_id
    client = MlflowClient(tracking_uri=workspace.settings.registry_url)
    (tracked,) = client.search_runs([client.get_experiment_by_name("students").experiment_id])
    figures = {f"holdout_{name}": value for name, value in decision.candidate_metrics.items()}
    assert tracked.data.metrics == pytest.approx(figures)
    assert tracked.data.params["estimator"] == "ridge"


@pytest.mark.slow
def test_two_promotions_at_once(workspace: Workspace) -> None:
    """Whoever comes second is judged beside the first."""
    runs = [propose(workspace), propose(workspace)]
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "noria.jobs.promote", "--pipeline", "students", "--run-id", run.run_id],
            env=workspace.settings.child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for run in runs
    ]  # fmt: skip
    said = [child.communicate(timeout=200) for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    decisions = [workspace.require(run, "promote", Decision) for run in runs]
    assert sorted(d.verdict for d in decisions) == ["keep", "promote"]
    assert {d.champion_version for d in decisions} == {"1"}
    assert len(workspace.registry.history("students")) == 1
