"""What stages hand on: small, frozen JSON documents in the lake. Data never travels in them, only references.

A stage's record stands at `runs/<pipeline>/<run_id>/<stage>.json`, wrapped in a `StageRun` that says what it used.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from noria.pipeline import Pipeline, Scalar

STAGES = ("ingest", "validate", "explore", "train", "promote", "report")
Metrics = dict[str, float]


class Record(BaseModel):
    """Base of every record: immutable, unknown keys refused, NaN and infinity kept as JSON strings."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Run(Record):
    """One run of a pipeline: everything that was fixed before its first stage."""

    run_id: str = Field(pattern=r"^[A-Za-z0-9_.+-]{1,200}$")
    pipeline: Pipeline
    code: str
    created_at: datetime
    ui_url: str | None = None
    """Link to this run in the Airflow UI, if Airflow runs it."""


class Usage(Record):
    """What a stage used, its child processes included."""

    wall_seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    vcpu_seconds: float
    """Processor cores that were available times wall seconds."""


class RawFile(Record):
    """Bytes as a source delivered them; the manifest beside them in the lake."""

    source: str
    commit: str | None = None
    etag: str | None = None
    sha256: str
    bytes: int
    fetched_at: datetime


class Snapshot(Record):
    """An immutable, content-addressed copy of the source and the typed table made of it."""

    snapshot_id: str
    pipeline: str
    source: str
    commit: str | None = None
    etag: str | None = None
    sha256: str
    bytes: int
    rows: int
    """Rows of the typed table."""
    quarantined_rows: int = 0
    quarantine_reasons: dict[str, int] = {}
    """`column: reason` -> rows."""
    extra_columns: tuple[str, ...] = ()
    """Headers of the source that the spec does not declare; they are left out of the typed table."""
    fetched_at: datetime
    table_schema: dict[str, str]
    """Column -> declared type, in order."""
    raw: str
    table: str
    quarantine: str | None = None
    """Lake paths of the raw bytes, the Parquet table and the quarantined rows (CSV)."""
    reused: bool = False
    """Whether the same bytes had been ingested before."""


class ExpectationResult(Record):
    """One expectation and what was seen."""

    expectation: str
    column: str | None
    severity: Literal["critical", "warning"]
    success: bool
    observed: str
    expected: str


class ValidationReport(Record):
    """Verdict of Great Expectations on a snapshot's typed table."""

    snapshot_id: str
    success: bool
    """No critical expectation failed."""
    results: tuple[ExpectationResult, ...]
    docs: str
    """Lake path of the Data Docs page (HTML, readable offline)."""


class Answer(Record):
    """A question of the spec and its answer."""

    title: str
    value: float | None
    format: Literal["integer", "number", "percent"]


class Histogram(Record):
    """Bars of equal width; `edges` has one entry more than `counts`."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class ColumnProfile(Record):
    """Statistics of one column; the numeric ones are none for other columns."""

    name: str
    type: str
    count: int
    nulls: int
    distinct: int
    """Approximate above a few thousand."""
    mean: float | None = None
    sd: float | None = None
    skewness: float | None = None
    kurtosis: float | None = None
    min: float | None = None
    max: float | None = None
    quantiles: dict[str, float] = {}
    """Probability (such as "0.25") -> value."""
    histogram: Histogram | None = None
    earliest: str | None = None
    latest: str | None = None
    """Of dates and times."""
    top: tuple[tuple[str, int], ...] = ()
    """Most frequent values with their counts."""


class Profile(Record):
    """Result of the Spark exploration."""

    snapshot_id: str
    rows: int
    columns: tuple[ColumnProfile, ...]
    correlation_columns: tuple[str, ...]
    correlation: tuple[tuple[float | None, ...], ...]
    """Pearson, in the order of `correlation_columns`; none where a column is constant."""
    answers: tuple[Answer, ...]
    result: str
    """Lake path of the job's own JSON."""
    spark_version: str


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
    stopped_by_time: bool = False
    """Whether the search ended before its budget was spent (tuning.timeout_seconds)."""
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
    cluster: str
    """Where it was trained, for people: workers, threads, versions."""


class Rule(Record):
    """One rule of the gate with the numbers it was decided on."""

    name: str
    passed: bool
    required: bool
    detail: str


Verdict = Literal["promote", "keep", "reject"]


class Decision(Record):
    """What the gate said, and what the registry holds after it."""

    verdict: Verdict
    rules: tuple[Rule, ...]
    reasons: tuple[str, ...]
    """The rules that decided, in words."""
    candidate_metrics: Metrics
    """On the holdout."""
    champion_metrics: Metrics | None = None
    """Of the champion on the rows of the candidate's holdout that neither has seen; none if it was not compared."""
    compared_rows: int | None = None
    """How many these rows are, where the champion has seen others of the holdout; none means all of them."""
    compared_metrics: Metrics | None = None
    """Of the candidate on these rows, where they are not all."""
    previous_champion: str | None = None
    registered_version: str | None = None
    """What the registry made of the candidate; none if it was not registered."""
    champion_version: str | None = None
    """The champion after this decision."""
    dry_run: bool = False

    @property
    def new_champion(self) -> bool:
        """Whether the candidate is the champion now; a late retry finds a newer one in its place."""
        registered = self.registered_version in (None, self.champion_version)
        return self.verdict == "promote" and not self.dry_run and registered


class ChampionVersion(Record):
    """A version in the registry, as the report's history shows it."""

    version: str
    is_champion: bool
    created_at: datetime
    run_id: str
    snapshot_id: str
    estimator: str
    metrics: Metrics
    model_sha256: str
    previous_champion: str | None = None
    """The champion before it."""
    holdout: HoldoutRule | None = None
    """Which rows it has never seen; none if its version does not say."""


class Report(Record):
    """The run's HTML file."""

    html: str
    """Lake path."""


class StageRun(Record):
    """Envelope of a stage's record."""

    pipeline: str
    run_id: str
    stage: str
    started_at: datetime
    finished_at: datetime
    usage: Usage
    record: dict[str, Any]


class Failure(Record):
    """Why a stage ended without a record; kept beside the records until a retry succeeds."""

    stage: str
    error: str
    message: str
    retryable: bool
    exit_code: int
    failed_at: datetime
