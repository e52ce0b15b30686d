"""Runs that have cost something, and a price sheet by which a vCPU hour costs one euro."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from noria.costs.usage import keep_usage
from noria.records import JobUsage, Run, Usage
from noria.workspace import Workspace

Outcome = Literal["done", "failed", "killed"]
NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
SHEET = """
currency: EUR
machines:
  local: { per_vcpu_hour: 1, source: tests, date: 2026-01-01 }
"""


def past(
    workspace: Workspace,
    cost: float,
    *,
    days_ago: float = 0,
    pipeline: str = "students",
    ended: Outcome = "done",
    machines: Mapping[str, str] | None = None,
    **overrides: str,
) -> Run:
    """A run that has cost so much, nine tenths of it in training; where it ran by stage, if not on this machine."""
    run = workspace.create_run("students", overrides={k.replace("__", "."): v for k, v in overrides.items()})
    at = workspace.clock() - timedelta(days=days_ago)
    for stage, share in (("ingest", 5), ("train", 90), ("promote", 5)):
        machine = (machines or {}).get(stage, "local")
        outcome = ended if stage == "promote" else "done"
        _account(workspace, run.run_id, pipeline, stage, at, cost * share / 100, outcome, machine)
    return run


def spend(workspace: Workspace, run: Run, cost: float) -> None:
    """A run has had its first job now, which has cost so much."""
    _account(workspace, run.run_id, run.pipeline.name, "ingest", workspace.clock(), cost, "done")


def _account(
    workspace: Workspace,
    run_id: str,
    pipeline: str,
    stage: str,
    at: datetime,
    cost: float,
    outcome: Outcome,
    machine: str = "local",
) -> None:
    usage = Usage(wall_seconds=1, cpu_seconds=1, peak_rss_bytes=1, vcpu_seconds=round(cost * 3600), machine=machine)
    job = JobUsage(
        pipeline=pipeline,
        run_id=run_id,
        stage=stage,
        started_at=at,
        finished_at=at,
        outcome=outcome,
        usage=usage,
    )
    keep_usage(job, workspace.lake)
