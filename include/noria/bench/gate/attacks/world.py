"""A scratch home with a pipeline of its own, a snapshot and a weak champion, as it was before every attack."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sqlite3
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from noria.models.build import build_model
from noria.models.examples import Examples, Split, load_split
from noria.models.holdout import row_set
from noria.models.metrics import evaluate
from noria.models.store import dump_model, model_types
from noria.pipeline import load_spec
from noria.records import Candidate, Record, Run, Snapshot, Spread, StageRun, Usage, ValidationReport, policy_digest
from noria.settings import CHECKOUT, Settings
from noria.stages.ingest import ingest
from noria.stages.promote import promote
from noria.workspace import Workspace, run_path, to_json

NAME = "attacked"
ROWS = 1000
GATE = {"thresholds": [{"metric": "r2", "min": 0.3}]}


@dataclass(frozen=True)
class Fitted:
    """A model that was trained, and the file that training leaves of it.

    Attributes:
        kind: Its family.
        model: Itself.
    """

    kind: str
    model: Any

    @cached_property
    def data(self) -> bytes:
        """Bytes of its file."""
        return dump_model(self.model)

    @cached_property
    def types(self) -> tuple[str, ...]:
        """What its file holds beside what skops knows."""
        return model_types(self.data)


class World:
    """Everything on local disk: lake, MLflow on SQLite, ledger, keys.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._home, self._saved = folder / "home", folder / "saved"
        self.pipelines = folder / "pipelines"
        self.write_policy(GATE)
        self._count = 0
        self._known: dict[str, dict[str, float]] = {}
        self._fitted: dict[tuple[str, bytes], Fitted] = {}
        self.settings = Settings.from_env({"NORIA_PIPELINES": str(self.pipelines)}, home=self._home)
        self._table: Snapshot | None = None
        self.workspace = self.open()
        self.champion_run = self.propose(part=0.03, run_id="the-first")
        self.first = promote(self.champion_run, self.workspace)
        self._save()

    def open(self, **changes: Any) -> Workspace:
        """A workspace as another process would open it."""
        return replace(Workspace.open(self.settings), **changes)

    def restore(self) -> None:
        """The home as it was after the first champion."""
        self.write_policy(GATE)
        self._restore_folder("lake")
        self.restore_registry()

    def restore_registry(self) -> None:
        """The registry as it was after the first champion; the database in place, because MLflow holds it open."""
        self._restore_folder("registry/artifacts")
        _copy_database(self._saved / "mlflow.db", self.database)
        self.workspace = self.open()

    def _restore_folder(self, part: str) -> None:
        shutil.rmtree(self._home / part)
        shutil.copytree(self._saved / part, self._home / part)

    @property
    def database(self) -> Path:
        """SQLite file of the registry."""
        return self._home / "registry" / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """Where the registry keeps model files."""
        return self._home / "registry" / "artifacts"

    @cached_property
    def split(self) -> Split:
        """Training and holdout rows of the snapshot."""
        snapshot = self.workspace.require(self.champion_run, "ingest", Snapshot)
        with self.workspace.lake.local(snapshot.table) as table:
            return load_split(table, self.champion_run.pipeline)

    def write_policy(self, gate: dict[str, Any]) -> None:
        """What stands in the pipeline's folder as its policy."""
        file = self.pipelines / NAME / "pipeline.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({**_students(), "name": NAME, "gate": gate}), encoding="utf-8")

    # Runs up to the gate

    def propose(
        self,
        *,
        part: float = 1.0,
        run_id: str = "",
        kind: str = "ridge",
        also: Examples | None = None,
        searched: Examples | None = None,
        honest: bool = True,
        gate: dict[str, str] | None = None,
        **changes: Any,
    ) -> Run:
        """A run whose candidate waits for the gate.

        Args:
            part: Share of the training rows that its model sees.
            run_id: A new one, if not given.
            kind: Estimator.
            also: Other rows that its model sees.
            searched: Other rows that only the search for its hyper-parameters sees.
            honest: Whether its list of seen rows names those, too.
            gate: Overrides of the policy, such as {"gate.thresholds": "[]"}.
            changes: Of the candidate's record.
        """
        self._count += 1
        workspace = self.workspace
        run = workspace.create_run(NAME, run_id or f"run-{self._count}", overrides=gate)
        snapshot = ingest(run, workspace)
        self.publish(run, "ingest", snapshot)
        report = ValidationReport(snapshot_id=snapshot.snapshot_id, success=True, results=(), docs="none")
        self.publish(run, "validate", report)
        with workspace.lake.local(snapshot.table) as table:
            split = load_split(table, run.pipeline)
        rows = split.train.take(np.arange(max(5, int(part * len(split.train)))))
        model = self.fitted(split, kind, rows if also is None else joined(rows, also))
        others = [other for other in (also, searched) if other is not None and honest]
        seen = row_set(np.concatenate([split.train.hashes, *(other.hashes for other in others)]))
        candidate = self._candidate(run, snapshot, split, model=model, hashes=seen.tobytes())
        self.publish(run, "train", candidate.model_copy(update=changes))
        return run

    def publish(self, run: Run, stage: str, record: Record) -> None:
        """Leave a stage's record, as its job does."""
        now = self.workspace.clock()
        envelope = StageRun(
            pipeline=run.pipeline.name,
            run_id=run.run_id,
            stage=stage,
            started_at=now,
            finished_at=now,
            usage=Usage(wall_seconds=1, cpu_seconds=1, peak_rss_bytes=1, vcpu_seconds=1),
            record=record.model_dump(mode="json"),
        )
        self.workspace.lake.replace(run_path(run.pipeline.name, run.run_id, stage), to_json(envelope))

    def candidate(self, run: Run) -> Candidate:
        """What training left."""
        return self.workspace.require(run, "train", Candidate)

    def fitted(self, split: Split, kind: str, rows: Examples) -> Fitted:
        """A model of some family, trained on these rows; the same one is trained once."""
        key = kind, rows.hashes.tobytes()
        if key not in self._fitted:
            few = {"n_estimators": 40} if kind == "random_forest" else {}
            model = build_model(split.problem, kind, few, 1).fit(rows.features, rows.target)
            self._fitted[key] = Fitted(kind, model)
        return self._fitted[key]

    def _candidate(self, run: Run, snapshot: Snapshot, split: Split, *, model: Fitted, hashes: bytes) -> Candidate:
        kind, data = model.kind, model.data
        path, seen_path = (run_path(NAME, run.run_id, f"train/{name}") for name in ("model.skops", "seen_rows.bin"))
        self.workspace.lake.replace(path, data)
        self.workspace.lake.replace(seen_path, hashes)
        metrics, baseline = self._honest(split, kind), self._honest(split, "dummy")
        return Candidate(
            snapshot_id=snapshot.snapshot_id, task="regression", target=run.pipeline.target,
            features=run.pipeline.features, estimator=kind, params={}, primary_metric=run.pipeline.primary_metric,
            metrics=metrics, spread={k: Spread(mean=v, sd=0.02) for k, v in metrics.items()},
            baselines={"dummy": baseline, "linear": baseline}, contenders=(), learning_curve=(), trials=1,
            train_rows=len(split.train), holdout_rows=len(split.holdout), holdout_sha256=split.holdout_sha256, seed=1,
            code=run.code, model=path, model_sha256=hashlib.sha256(data).hexdigest(), model_bytes=len(data),
            model_types=model.types, training_rows=seen_path,
            training_rows_sha256=hashlib.sha256(hashes).hexdigest(), policy_sha256=policy_digest(run.pipeline.gate),
            cluster="none",
        )  # fmt: skip

    def _honest(self, split: Split, kind: str) -> dict[str, float]:
        """Metrics of a model of all training rows and no others."""
        if kind not in self._known:
            model = self.fitted(split, kind, split.train).model
            self._known[kind] = dict(evaluate(split.problem, model, split.holdout))
        return self._known[kind]

    def _save(self) -> None:
        for part in ("lake", "registry/artifacts"):
            shutil.copytree(self._home / part, self._saved / part)
        _copy_database(self.database, self._saved / "mlflow.db")


@cache
def _students() -> dict[str, Any]:
    """The students pipeline without what the gate does not look at."""
    spec = load_spec(CHECKOUT / "include" / "pipelines" / "students" / "pipeline.yaml")
    document = spec.model_dump(mode="json", exclude_defaults=True, exclude={"expectations", "explore", "alerts"})
    source = {"kind": "sample", "generator": "students", "rows": ROWS, "seed": 7}
    return {**document, "source": source, "estimators": [{"kind": "ridge"}]}


def joined(one: Examples, other: Examples) -> Examples:
    """Rows of both."""
    import pandas as pd

    return Examples(
        pd.concat([one.features, other.features], ignore_index=True),
        np.concatenate([one.target, other.target]),
        np.concatenate([one.hashes, other.hashes]),
    )


def _copy_database(source: Path, target: Path) -> None:
    with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
        old.backup(new)
