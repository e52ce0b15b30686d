"""A run and its stages."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from noria.pipeline import Pipeline
from noria.records.base import STAGES, Record


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
    memory_byte_seconds: float = 0.0
    """Resident memory times seconds, of the job and its children."""
    stored_bytes: int = 0
    """Written to the lake."""
    requests: int = 0
    """Asked of the lake, reads and writes together."""
    write_requests: int = 0
    """Those of them that wrote; a price sheet has another price for them."""
    machine: str = "local"
    """What it ran on, as the price sheet calls it: `local`, `synapse`, or `azureml/<node size>`."""


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


class JobUsage(Record):
    """What one attempt at a stage used, whatever became of it: a failed attempt costs money too."""

    pipeline: str
    run_id: str
    stage: str
    started_at: datetime
    finished_at: datetime
    outcome: Literal["done", "failed", "killed"]
    usage: Usage


class Failure(Record):
    """Why a stage ended without a record; kept beside the records until a retry succeeds."""

    stage: str
    error: str
    message: str
    retryable: bool
    exit_code: int
    failed_at: datetime


def stages_of(pipeline: Pipeline) -> tuple[str, ...]:
    """The stages of a pipeline's runs, in order."""
    return tuple(stage for stage in STAGES if stage != "release" or pipeline.gate.approval is not None)
