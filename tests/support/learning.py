"""Typed tables to learn from, and workers in this process for tests that are about something else than processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noria.models.workers import NOT_BEGUN
from noria.pipeline import Pipeline

NULLABLE = ("soil", "farmer", "watered", "rain", "sown", "measured")
ESTIMATORS = ("linear", "ridge", "random_forest", "gradient_boosting", "xgboost")


class InlineWorkers:
    """Functions applied one after the other; what was shared is kept for a look at it."""

    cores = 1

    def __init__(self) -> None:
        self.shared: list[Any] = []
        self.jobs = 0

    def share(self, value: Any) -> Any:
        self.shared.append(value)
        return value

    def map(
        self, function: Callable[[Any, Any], Any], shared: Any, jobs: Sequence[Any], *, until: float | None = None
    ) -> list[Any]:
        self.jobs += len(jobs)
        results: list[Any] = []
        for job in jobs:
            late = results and until is not None and time.monotonic() > until
            results.append(NOT_BEGUN if late else self._one(function, shared, job))
        return results

    def _one(self, function: Callable[[Any, Any], Any], shared: Any, job: Any) -> Any:
        try:
            return function(shared, job)
        except Exception as error:
            return error


def pipeline(**changes: Any) -> Pipeline:
    """A small pipeline with a column of every type; `changes` replace keys of the document."""
    document: dict[str, Any] = {
        "name": "fields",
        "description": "Yield of fields.",
        "owner": "tests",
        "source": {"kind": "file", "path": "fields.csv"},
        "columns": [
            {"name": "soil", "type": "category", "values": ["clay", "loam", "sand"], "nullable": True},
            {"name": "farmer", "type": "string", "nullable": True},
            {"name": "watered", "type": "boolean", "nullable": True},
            {"name": "rain", "type": "number", "nullable": True},
            {"name": "hedges", "type": "integer"},
            {"name": "sown", "type": "date", "nullable": True},
            {"name": "measured", "type": "datetime", "nullable": True},
            {"name": "harvest", "type": "number"},
            {"name": "grade", "type": "category", "values": ["high", "low", "middle"]},
            {"name": "good", "type": "boolean"},
        ],
        "task": "regression",
        "target": "harvest",
        "features": ["soil", "farmer", "watered", "rain", "hedges"],
        "estimators": [{"kind": kind, "search": {}} for kind in ESTIMATORS],
        "metrics": ["r2", "mae", "rmse", "rae", "rse"],
        "tuning": {"trials": 5, "folds": 3, "workers": 2},
        "evaluation": {"seeds": 2, "learning_curve": [0.5, 0.9]},
    }
    return Pipeline.model_validate({**document, **changes})


def classification(target: str = "good", **changes: Any) -> Pipeline:
    """The same as a classification."""
    metrics = ["roc_auc", "accuracy", "balanced_accuracy", "f1", "log_loss"]
    return pipeline(**{"task": "classification", "target": target, "metrics": metrics, **changes})


def fields(rows: int = 400, seed: int = 1, *, null_share: float = 0.0) -> pa.Table:
    """A typed table of that pipeline; harvest depends on soil, water and rain."""
    rng = np.random.default_rng(seed)
    soil = rng.choice(["clay", "loam", "sand"], rows)
    watered, rain = rng.random(rows) < 0.5, rng.normal(60, 15, rows)
    harvest = 20 + 8 * (soil == "loam") + 10 * watered + 0.4 * rain + rng.normal(0, 3, rows)
    columns: dict[str, tuple[list[Any], pa.DataType]] = {
        "soil": (soil.tolist(), pa.string()),
        "farmer": (rng.choice(["Ada", "Bo", "Cy"], rows).tolist(), pa.string()),
        "watered": (watered.tolist(), pa.bool_()),
        "rain": (rain.tolist(), pa.float64()),
        "hedges": (rng.integers(0, 5, rows).tolist(), pa.int64()),
        "sown": (rng.integers(19_000, 20_000, rows).tolist(), pa.int32()),
        "measured": (rng.integers(10**15, 2 * 10**15, rows).tolist(), pa.int64()),
        "harvest": (harvest.tolist(), pa.float64()),
        "grade": (np.where(harvest > 56, "high", np.where(harvest > 46, "middle", "low")).tolist(), pa.string()),
        "good": ((harvest > 52).tolist(), pa.bool_()),
    }
    final = {"sown": pa.date32(), "measured": pa.timestamp("us", tz="UTC")}
    arrays = {}
    for name, (values, kind) in columns.items():
        share = null_share if name in NULLABLE else 0.0
        array = pa.array([None if rng.random() < share else v for v in values], kind)
        arrays[name] = array.cast(final.get(name, kind))
    return pa.table(arrays)


def write(table: pa.Table, path: Path) -> Path:
    """The table as Parquet."""
    pq.write_table(table, path)
    return path
