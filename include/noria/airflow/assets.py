"""The assets that a pipeline produces, and the facts that their events carry."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset

from noria.records import Decision, Record, Rollback, Snapshot


def snapshot_asset(pipeline: str) -> Asset:
    """The pipeline's data: an event names the snapshot that a run ingested."""
    return Asset(name=f"{pipeline}_snapshot", uri=f"noria://snapshots/{pipeline}", group="noria")


def model_asset(pipeline: str) -> Asset:
    """The pipeline's champion: an event names the version that became it; a candidate that waits makes none."""
    return Asset(name=f"{pipeline}_champion", uri=f"noria://models/{pipeline}", group="noria")


def event_facts(record: Record) -> dict[str, Any] | None:
    """What an asset's event says about a record; none if the record is no event."""
    if isinstance(record, Snapshot):
        return {
            "snapshot_id": record.snapshot_id,
            "sha256": record.sha256,
            "rows": record.rows,
            "quarantined_rows": record.quarantined_rows,
            "source": record.source,
            "reused": record.reused,
        }
    if isinstance(record, Decision) and record.new_champion:
        return {
            "version": record.champion_version,
            "verdict": "force" if record.forced else record.verdict,
            "metrics": record.candidate_metrics,
            "previous_version": record.previous_champion,
        }
    if isinstance(record, Rollback) and record.champion_version == record.version:
        return {
            "version": record.version,
            "verdict": "rollback",
            "metrics": record.metrics,
            "previous_version": record.before,
        }
    return None
