"""Two simulated models' predictions as the evidence that the gate judges by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from noria.gate import Challenger, Champion, Circumstances, Holdout, decide
from noria.models.metrics import Predicted, Predictions
from noria.models.problem import Problem
from noria.pipeline import Column, Gate
from noria.records import Candidate, Decision, Metrics, Snapshot, Spread, ValidationReport, policy_digest

NOW = datetime(2026, 3, 1, 6, tzinfo=UTC)
_X = Column(name="x", type="number")
_SNAPSHOT = Snapshot(
    snapshot_id="0" * 64,
    pipeline="simulated",
    source="simulated",
    sha256="0" * 64,
    bytes=1,
    rows=1,
    fetched_at=NOW - timedelta(hours=1),
    table_schema={"x": "number", "y": "number"},
    raw="raw",
    table="table",
)
_VALIDATION = ValidationReport(snapshot_id="0" * 64, success=True, results=(), docs="docs")


def regression(*metrics: str) -> Problem:
    """A number from another; the first metric decides."""
    return Problem("regression", Column(name="y", type="number"), (_X,), metrics)


def classification(*metrics: str) -> Problem:
    """Yes or no from a number; the first metric decides."""
    return Problem("classification", Column(name="y", type="boolean"), (_X,), metrics, (False, True))


def said(probability: np.ndarray) -> Predicted:
    """What a classifier says that gives the positive class these n probabilities."""
    shares = np.column_stack([1 - probability, probability])
    return Predicted(shares, (probability > 0.5).astype(int))


@dataclass(frozen=True)
class Question:
    """One question to the gate; nothing is wrong with it but what the fields say.

    Attributes:
        problem: What is predicted.
        target: n actual values or labels.
        challenger: The candidate's predictions of them.
        champion: The champion's; none if there is no champion.
        policy: The gate's.
        holdout_sha256: Names the rows.
        looks: How many others were judged against this champion on these rows.
        of_challenger: Other fields of the challenger.
        of_candidate: Other fields of the candidate's record.
        of_circumstances: Other fields of the circumstances.
        slices: Column -> n values.
    """

    problem: Problem
    target: np.ndarray
    challenger: Predictions
    champion: Predictions | Champion | None
    policy: Gate = field(default_factory=Gate)
    holdout_sha256: str = "h" * 64
    looks: int = 0
    of_challenger: Mapping[str, Any] = field(default_factory=dict)
    of_candidate: Mapping[str, Any] = field(default_factory=dict)
    of_circumstances: Mapping[str, Any] = field(default_factory=dict)
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)

    def decide(self) -> Decision:
        """What the gate says."""
        seen = np.zeros(len(self.target), dtype=bool)
        champion = self.champion
        if champion is not None and not isinstance(champion, Champion):
            champion = Champion("1", champion, seen=seen)
        known: dict[str, Any] = {"snapshot": _SNAPSHOT, "validation": _VALIDATION, "now": NOW, "looks": self.looks}
        return decide(
            Challenger(self._candidate(), self.challenger, **{"seen": seen, **self.of_challenger}),
            champion,
            self.policy,
            Holdout(self.problem, self.target, self.holdout_sha256, self.slices),
            Circumstances(**{**known, **self.of_circumstances}),
        )

    def _candidate(self) -> Candidate:
        problem, nothing = self.problem, dict.fromkeys(self.problem.metrics, 0.0)
        fields: dict[str, Any] = {
            "snapshot_id": "0" * 64, "task": problem.task, "target": "y", "features": ("x",), "estimator": "simulated",
            "params": {}, "primary_metric": problem.primary_metric, "metrics": nothing,
            "spread": dict.fromkeys(problem.metrics, Spread(mean=math.nan, sd=math.nan)),
            "baselines": {"dummy": _dummy(problem), "linear": _dummy(problem)}, "contenders": (), "learning_curve": (),
            "trials": 1, "train_rows": 700, "holdout_rows": len(self.target), "holdout_sha256": self.holdout_sha256,
            "seed": 1, "code": "0", "model": "model.skops", "model_sha256": "0" * 64, "model_bytes": 1000,
            "training_rows": "rows", "training_rows_sha256": "0" * 64, "policy_sha256": policy_digest(self.policy),
            "cluster": "simulated",
        }  # fmt: skip
        return Candidate.model_validate({**fields, **self.of_candidate})


def _dummy(problem: Problem) -> Metrics:
    """A baseline that every model beats: it is not what a simulation is about."""
    worst = {"r2": -10.0, "accuracy": 0.0, "balanced_accuracy": 0.0, "roc_auc": 0.0, "f1": 0.0}
    return {metric: worst.get(metric, 1e9) for metric in problem.metrics}
