"""What ingestion, validation and exploration hand on."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from noria.records.base import Record


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
    quarantine_reasons: dict[str, int] = Field(default_factory=dict)
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
    quantiles: dict[str, float] = Field(default_factory=dict)
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
