"""The gate's policy, as pipeline.yaml declares it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from noria.pipeline.base import Model

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
Metric = Literal["r2", "mae", "rmse", "rae", "rse", "accuracy", "balanced_accuracy", "roc_auc", "f1", "log_loss"]
Level = Literal["required", "advisory"]
"""A required rule that fails stops the candidate; an advisory one is told and stops nothing."""


def greater_is_better(metric: str) -> bool:
    """Whether a larger value of the metric is a better model."""
    return METRICS[metric][1]


class Threshold(Model):
    """An absolute bound on a metric of the holdout."""

    metric: Metric
    min: float | None = None
    max: float | None = None
    level: Level = "required"

    @model_validator(mode="after")
    def _one_bound(self) -> Threshold:
        if (self.min is None) == (self.max is None):
            raise ValueError("a threshold needs either min or max")
        return self


class Slice(Model):
    """Groups of rows on which the candidate may not be much worse than the champion: one for each value of a column."""

    column: str = Field(description="A category, boolean, integer or string; it need not be a feature.")
    margin: float = Field(0.05, ge=0, description="By how much the primary metric may be worse than the champion's.")
    min_rows: int = Field(30, ge=2, description="Slices with fewer rows are shown and not judged.")
    level: Level = "required"


class Limit(Model):
    """The most that something may be."""

    max: float = Field(gt=0)
    level: Level = "required"


class Limits(Model):
    """What a model may cost those who train, keep and ask it."""

    latency_milliseconds: Limit | None = Field(None, description="Median time of a prediction for one row.")
    model_megabytes: Limit | None = Field(None, description="Size of the model file.")
    training_vcpu_seconds: Limit | None = Field(None, description="Cores times seconds of the training job.")


class Freshness(Model):
    """How old the data may be."""

    max_days: float = Field(gt=0, description="Since its bytes were fetched.")
    level: Level = "required"


class ApprovalPolicy(Model):
    """A person has to agree before a candidate becomes the champion."""

    timeout_hours: float = Field(24, gt=0, le=24 * 30, description="Then it counts as declined: the champion stays.")
    approvers: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="Names of Airflow users who may; default: everyone who may act on the DAG."
    )


class Gate(Model):
    """Policy of the promotion gate."""

    mode: Literal["enforce", "dry_run"] = "enforce"
    thresholds: tuple[Threshold, ...] = ()
    margin: float = Field(0.0, ge=0, description="The candidate must beat the champion's primary metric by more.")
    beat_champion: Level = Field("required", description="advisory: every candidate that meets the rest is promoted.")
    alpha: float = Field(
        0.05, gt=0, le=0.5, description="Chance of promoting a model that is no better than the champion."
    )
    draws: int = Field(2000, ge=200, le=100_000, description="Bootstrap draws behind every interval.")
    min_rows: int = Field(30, ge=10, description="Rows that neither champion nor candidate has seen.")
    slices: tuple[Slice, ...] = ()
    calibration: Limit | None = Field(
        None,
        description="Classification: expected calibration error. Regression: mean error by the target's spread.",
    )
    limits: Limits = Limits()
    validation: Level = Field(
        "required", description="Whether a snapshot without a passed validation stops the candidate."
    )
    freshness: Freshness | None = None
    approval: ApprovalPolicy | None = None
