"""What training hands on."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from noria.pipeline import Pipeline, Scalar
from noria.records.base import Metrics, Record

StoppedBy = Literal["time", "cap"]
"""`tuning.timeout_seconds` or `tuning.max_vcpu_seconds`."""


class Spread(Record):
    """Mean and standard deviation of a metric over seeds."""

    mean: float
    sd: float


class Contender(Record):
    """The best of one estimator family, or a baseline."""

    name: str
    params: dict[str, Scalar | None]
    trials: int
    """Trials spent; 0 for a baseline."""
    cv: dict[str, Spread]
    """Metric -> mean and spread over repeated splits of the training rows."""
    holdout: Metrics
    seconds: float


class CurvePoint(Record):
    """The chosen estimator trained on a share of the training rows, judged on the holdout, over seeds."""

    share: float
    rows: int
    metrics: dict[str, Spread]


class HoldoutRule(Record):
    """Which rows a model has never seen: those whose hash over the columns, with the salt, is in the lowest share."""

    salt: str
    share: float
    columns: dict[str, str]
    """Column that is hashed -> its declared type."""

    @classmethod
    def of(cls, pipeline: Pipeline) -> HoldoutRule:
        """The rule that a pipeline's runs follow."""
        columns = {c.name: c.type for c in sorted(pipeline.columns, key=lambda c: c.name)}
        return cls(salt=pipeline.holdout.salt, share=pipeline.holdout.share, columns=columns)


class Candidate(Record):
    """The model that training proposes."""

    snapshot_id: str
    task: Literal["regression", "classification"]
    target: str
    features: tuple[str, ...]
    estimator: str
    params: dict[str, Scalar | None]
    primary_metric: str
    metrics: Metrics
    """On the holdout."""
    spread: dict[str, Spread]
    """Over repeated splits of the training rows, holdout excluded."""
    baselines: dict[str, Metrics]
    """`dummy` and `linear` on the holdout."""
    contenders: tuple[Contender, ...]
    learning_curve: tuple[CurvePoint, ...]
    trials: int
    stopped_by: StoppedBy | None = None
    """What ended the search before all its trials were spent."""
    search_seconds: float | None = None
    """How long the search took, by the clock; older records do not say."""
    train_rows: int
    holdout_rows: int
    holdout_sha256: str
    """Over the sorted row hashes of the holdout."""
    seed: int
    code: str
    model: str
    """Lake path of the model file (skops)."""
    model_sha256: str
    model_bytes: int
    model_types: tuple[str, ...] = ()
    """Types in the model file beyond those that skops trusts by itself; whoever loads it has to name them."""
    training_rows: str
    """Lake path of the hashes of all rows that tuning and training have seen (n × 16 bytes, sorted)."""
    training_rows_sha256: str
    policy_sha256: str
    """Digest of the gate's policy as training found it: a policy that is changed afterwards shows."""
    cluster: str
    """Where it was trained, for people: workers, threads, versions."""

    @model_validator(mode="before")
    @classmethod
    def _before_there_was_a_cap(cls, record: Any) -> Any:
        """Older records say only whether it was time."""
        if isinstance(record, dict) and "stopped_by_time" in record:
            known = {key: value for key, value in record.items() if key != "stopped_by_time"}
            return {**known, "stopped_by": "time" if record["stopped_by_time"] else None}
        return record
