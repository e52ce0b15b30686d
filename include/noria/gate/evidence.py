"""What the gate judges by: two models' predictions of the same frozen rows, and what is known of everything around."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from noria.models.metrics import Predictions
from noria.models.problem import Problem
from noria.pipeline import Gate
from noria.records import Candidate, Snapshot, ValidationReport


@dataclass(frozen=True)
class Holdout:
    """The frozen rows that both models predict, as the promotion itself drew them from the snapshot.

    Attributes:
        problem: What is predicted.
        target: n actual values or labels.
        sha256: Names the set of rows.
        slices: Column of the policy -> n values as text.
        dummy: What a model without features says of the rows: the mean of the training rows, or their shares of
            classes. Where it was not made, nothing is said of it.
    """

    problem: Problem
    target: np.ndarray
    sha256: str
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)
    dummy: Predictions | None = None

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True)
class Challenger:
    """The candidate as the gate sees it.

    Attributes:
        candidate: What training says of it; the gate believes no metric in it that it can compute itself.
        predictions: Of the holdout's rows, made by the promotion from the model's bytes; none if that did not work.
        problem: Why there are none, or why they cannot be the model's own.
        seen: Which rows of the holdout tuning or training has seen (n booleans); not to know it is to be refused.
        fit_rows_differ: How the rows that it was trained on differ from those that the snapshot gives it, if they do.
        model_bytes: Size of the model file that was judged; none if there is none.
        latency_milliseconds: Median time of a prediction for one row.
        training_vcpu_seconds: Cores times seconds of the training job.
    """

    candidate: Candidate
    predictions: Predictions | None
    problem: str | None = None
    seen: np.ndarray | None = None
    fit_rows_differ: str | None = None
    model_bytes: int | None = None
    latency_milliseconds: float | None = None
    training_vcpu_seconds: float | None = None


@dataclass(frozen=True)
class Champion:
    """The champion as the gate sees it.

    Attributes:
        version: Its version in the registry.
        predictions: Of the holdout's rows; none if it cannot be loaded or does not score them.
        problem: Why there are none.
        seen: Which rows of the holdout it was trained on (n booleans); none are taken out where that is not known.
    """

    version: str
    predictions: Predictions | None = None
    problem: str | None = None
    seen: np.ndarray | None = None


@dataclass(frozen=True)
class Circumstances:
    """What else the gate asks for.

    Attributes:
        snapshot: Where the rows come from.
        validation: What the validation said of it; none if there is no record.
        now: The present time, in UTC.
        lake_now: The present time by the lake's own clock, if it has one: no clock that is right is far from it.
        newest: The newest time that the lake or the registry knows of: no clock that is right is behind it.
        policy_now: The policy that stands in the pipeline's folder now, if that is still there; the run's own was
            frozen when it began, and an override may have changed it.
        overridden: Keys of pipeline.yaml beside the policy that say what is good, and say something else in the run
            than in the folder: its metrics, its expectations.
        looks: How many other candidates were judged against this champion on these very rows before.
        own_split: Whether the run holds out other rows than its pipeline's folder says. Then `looks` counts those on
            any rows, so that nobody looks for rows on which a model seems better.
        registry_findings: What was written to the registry around its adapter.
    """

    snapshot: Snapshot
    validation: ValidationReport | None
    now: datetime
    lake_now: datetime | None = None
    newest: datetime | None = None
    policy_now: Gate | None = None
    overridden: tuple[str, ...] = ()
    looks: int = 0
    own_split: bool = False
    registry_findings: tuple[str, ...] = ()
