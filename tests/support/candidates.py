"""Candidates, and the evidence that the gate judges them by, made of a few numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from noria.gate import Challenger, Champion, Circumstances, Holdout
from noria.models.metrics import Predicted
from noria.models.problem import Label, Problem
from noria.pipeline import Column, Gate
from noria.records import Candidate, Metrics, Snapshot, Spread, ValidationReport, policy_digest

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SNAPSHOT = Snapshot(
    snapshot_id="s", pipeline="p", source="https://example.org/data.csv", sha256="0" * 64, bytes=1, rows=100,
    fetched_at=datetime(2026, 1, 1, 23, tzinfo=UTC), table_schema={"x": "number", "y": "number"}, raw="r", table="t",
)  # fmt: skip
VALIDATION = ValidationReport(snapshot_id="s", success=True, results=(), docs="d")


def candidate(metrics: Metrics, dummy: Metrics, **changes: Any) -> Candidate:
    """What training says of a model with these metrics on a holdout where the dummy has those; the first decides."""
    return Candidate.model_validate(
        {
            "snapshot_id": "s", "task": "regression", "target": "y", "features": ("x",), "estimator": "ridge",
            "params": {}, "primary_metric": next(iter(metrics)), "metrics": metrics,
            "spread": dict.fromkeys(metrics, Spread(mean=math.nan, sd=math.nan)),
            "baselines": {"dummy": dummy, "linear": dummy}, "contenders": (), "learning_curve": (), "trials": 1,
            "train_rows": 70, "holdout_rows": 30, "holdout_sha256": "h", "seed": 1, "code": "c", "model": "m",
            "model_sha256": "0", "model_bytes": 1, "training_rows": "rows", "training_rows_sha256": "1",
            "policy_sha256": policy_digest(Gate()), "cluster": "none", **changes,
        }
    )  # fmt: skip


R2 = candidate({"r2": 0.85, "mae": 4.0}, {"r2": -0.001, "mae": 12.0})
MAE = candidate({"mae": 4.0}, {"mae": 12.0})


class Evidence(NamedTuple):
    """What `decide` takes, in its order: decide(*evidence(...))."""

    challenger: Challenger
    champion: Champion | None
    policy: Gate
    holdout: Holdout
    circumstances: Circumstances


def regression(*metrics: str) -> Problem:
    """y from x."""
    x, y = Column(name="x", type="number"), Column(name="y", type="number")
    return Problem("regression", y, (x,), metrics or ("r2", "mae"))


def classification(*metrics: str, classes: tuple[Label, ...] = (False, True)) -> Problem:
    """y from x; the labels are booleans unless they are given."""
    x, y = Column(name="x", type="number"), Column(name="y", type="boolean" if classes[0] is False else "string")
    return Problem("classification", y, (x,), metrics or ("accuracy", "log_loss"), classes)


def said(shares: np.ndarray | Sequence[Sequence[float]]) -> Predicted:
    """What a classifier says that gives these probabilities (n × classes)."""
    table = np.asarray(shares, dtype=float)
    return Predicted(table, table.argmax(axis=1))


def evidence(
    target: np.ndarray | Sequence[Any],
    predictions: np.ndarray | Predicted | None,
    champion: np.ndarray | Predicted | Champion | None = None,
    *,
    problem: Problem | None = None,
    policy: Gate | None = None,
    slices: Mapping[str, np.ndarray] | None = None,
    dummy: np.ndarray | Predicted | None = None,
    changes: Mapping[str, Any] | None = None,
    challenger: Mapping[str, Any] | None = None,
    **circumstances: Any,
) -> Evidence:
    """Evidence that nothing is wrong with, but for what the arguments say.

    Args:
        target: n actual values or labels.
        predictions: The candidate's.
        champion: The predictions of version 1, or the champion as the gate sees it.
        problem: Regression judged by r2 and mae, if not given.
        policy: The default one, if not given.
        slices: Column -> n values.
        dummy: What a model without features says.
        changes: Of the candidate's record.
        challenger: Other fields of the challenger.
        circumstances: Other fields of the circumstances.
    """
    problem, policy = problem or regression(), policy or Gate()
    claims = dict.fromkeys(problem.metrics, 0.5)
    fields = {
        "metrics": claims,
        "task": problem.task,
        "policy_sha256": policy_digest(policy),
        "holdout_rows": len(target),
        **(changes or {}),
    }
    record = candidate(claims, claims).model_copy(update=fields)
    given = {"snapshot": SNAPSHOT, "validation": VALIDATION, "now": NOW, **circumstances}
    rival = Champion("1", champion) if isinstance(champion, np.ndarray | Predicted) else champion
    return Evidence(
        Challenger(record, predictions, **{"seen": np.zeros(len(target), dtype=bool), **(challenger or {})}),
        rival,
        policy,
        Holdout(problem, np.asarray(target), "h", slices or {}, dummy),
        Circumstances(**given),
    )
