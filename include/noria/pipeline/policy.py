"""The gate's policy, as pipeline.yaml declares it: what a candidate has to show before it becomes the champion."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from noria.pipeline.base import Location, Model, repeated

METRICS: dict[str, tuple[str, bool]] = {
    # metric: (task, greater is better)
    "r2": ("regression", True),
    "mae": ("regression", False),
    "rmse": ("regression", False),
    "rae": ("regression", False),
    "rse": ("regression", False),
    "accuracy": ("classification", True),
    "balanced_accuracy": ("classification", True),
    "roc_auc": ("classification", True),
    "f1": ("classification", True),
    "log_loss": ("classification", False),
}
SHARES = ("accuracy", "balanced_accuracy", "roc_auc", "f1")
"""Metrics that lie between 0 and 1."""
Metric = Literal["r2", "mae", "rmse", "rae", "rse", "accuracy", "balanced_accuracy", "roc_auc", "f1", "log_loss"]
Level = Annotated[
    Literal["required", "advisory"],
    Field(description="A required rule that fails stops the candidate; an advisory one is told and stops nothing."),
]
LEAST_DRAWS_BEYOND = 10
"""Draws that have to lie beyond an end of an interval: with fewer its place is a matter of luck."""


def greater_is_better(metric: str) -> bool:
    """Whether a larger value of the metric is a better model."""
    return METRICS[metric][1]


class Threshold(Model):
    """An absolute bound on a metric of the holdout, whatever the champion does."""

    metric: Metric = Field(description="One of the pipeline's metrics.")
    min: float | None = Field(None, description="The least, for a metric that is better the greater it is.")
    max: float | None = Field(None, description="The most, for a metric that is better the smaller it is.")
    level: Level = "required"

    @model_validator(mode="after")
    def _one_bound(self) -> Threshold:
        if (self.min is None) == (self.max is None):
            raise ValueError("a threshold needs either min or max")
        return self


class Slice(Model):
    """Groups of rows on which the candidate may not be much worse than the champion: one for each value of a column."""

    column: str = Field(description="A category, boolean, integer or string; it need not be a feature.")
    margin: float = Field(
        0.05, ge=0, description="By how much the primary metric may be worse than the champion's, in its own unit."
    )
    min_rows: int = Field(30, ge=2, description="Groups with fewer rows are shown and not judged.")
    level: Level = "required"


class Limit(Model):
    """The most that something may be."""

    max: float = Field(gt=0, description="The most.")
    level: Level = "required"


class Limits(Model):
    """What a model may cost those who train, keep and ask it."""

    latency_milliseconds: Limit | None = Field(None, description="Median time of a prediction for one row.")
    model_megabytes: Limit | None = Field(None, description="Size of the model file, in millions of bytes.")
    training_vcpu_seconds: Limit | None = Field(None, description="Cores times seconds of the training job.")


class Freshness(Model):
    """How old the data may be."""

    max_days: float = Field(gt=0, description="Since its bytes were fetched.")
    level: Level = "required"


class ApprovalPolicy(Model):
    """A person has to agree before a candidate becomes the champion. In a dry run nobody is asked."""

    timeout_hours: float = Field(24, gt=0, le=24 * 30, description="Then it counts as declined: the champion stays.")
    approvers: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="Names of Airflow users who may; default: everyone who may act on the DAG."
    )


class Gate(Model):
    """Policy of the promotion gate: who becomes the champion, and at what risk of being wrong."""

    mode: Literal["enforce", "dry_run"] = Field(
        "enforce", description="dry_run reaches a verdict, reports it, and leaves the registry as it is."
    )
    thresholds: tuple[Threshold, ...] = Field((), description="Absolute bounds on metrics of the holdout.")
    margin: float = Field(
        0.0, ge=0, description="The primary metric has to be better than the champion's by more, in its own unit."
    )
    beat_champion: Level = Field("required", description="advisory: every candidate that meets the rest is promoted.")
    alpha: float = Field(
        0.05, gt=0, le=0.5, description="Chance of promoting a model that is no better than the champion."
    )
    draws: int = Field(2000, ge=200, le=100_000, description="Bootstrap draws behind every interval.")
    min_rows: int = Field(30, ge=10, description="Holdout rows that neither champion nor candidate has seen.")
    slices: tuple[Slice, ...] = Field((), description="Columns on whose groups the candidate may not be much worse.")
    calibration: Limit | None = Field(
        None,
        description="Classification: expected calibration error. Regression: mean error by the target's spread.",
    )
    limits: Limits = Limits()
    validation: Level = Field(
        "required", description="Whether a snapshot without a passed validation stops the candidate."
    )
    freshness: Freshness | None = Field(None, description="How old the data may be.")
    approval: ApprovalPolicy | None = Field(None, description="Ask people before a candidate becomes the champion.")


def contradictions(gate: Gate, metrics: Sequence[str]) -> Iterator[tuple[Location, str]]:
    """What no candidate can meet, or every candidate meets, for a pipeline of these metrics, the primary one first."""
    yield from _thresholds(gate.thresholds, metrics)
    yield from repeated(("slices",), (s.column for s in gate.slices), "column")
    if gate.approval is not None:
        yield from repeated(("approval", "approvers"), gate.approval.approvers)
    if gate.draws * gate.alpha < LEAST_DRAWS_BEYOND:
        least = math.ceil(LEAST_DRAWS_BEYOND / gate.alpha)
        yield ("draws",), f"{gate.draws} draws are too few to tell a chance of {gate.alpha:g}; give at least {least}"
    margins = [(("margin",), gate.margin), *((("slices", i, "margin"), s.margin) for i, s in enumerate(gate.slices))]
    for place, margin in margins:
        if metrics[0] in SHARES and margin >= 1:
            yield place, f"no {metrics[0]} differs by {margin:g}: it lies between 0 and 1{_as_share(margin)}"


def _thresholds(thresholds: Iterable[Threshold], metrics: Sequence[str]) -> Iterator[tuple[Location, str]]:
    levels: set[tuple[str, str]] = set()
    for index, threshold in enumerate(thresholds):
        place, metric = ("thresholds", index), threshold.metric
        if metric not in metrics:
            yield (*place, "metric"), f"{metric!r} is not among the metrics ({', '.join(metrics)})"
            continue
        if (metric, threshold.level) in levels:
            yield (*place, "metric"), f"{metric!r} has a bound of level {threshold.level} already; keep one of them"
        levels.add((metric, threshold.level))
        right, wrong = ("min", "max") if greater_is_better(metric) else ("max", "min")
        bound = threshold.min if threshold.min is not None else threshold.max
        assert bound is not None  # noqa: S101  a threshold has one of them
        if getattr(threshold, wrong) is not None:
            better = "greater" if right == "min" else "smaller"
            yield (*place, wrong), f"{metric} is better the {better} it is, so {wrong} keeps out the best; give {right}"
        elif metric in (*SHARES, "r2") and bound > 1:
            yield (*place, right), f"no model has {metric} {bound:g}: it is at most 1{_as_share(bound)}"
        elif right == "max" and bound < 0:
            yield (*place, right), f"no model has {metric} {bound:g}: it is at least 0"


def _as_share(value: float) -> str:
    return f"; {value:g} % is written {value / 100:g}" if value <= 100 else ""
