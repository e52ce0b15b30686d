"""What a Spark batch on Synapse used: the vCores that it held, from when it was given them until it ended.

What the vCores did meanwhile is not told, nor is how long the pool kept its nodes afterwards, which costs too: the
invoice shows that.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from noria.compute.remote import JobUse
from noria.records import Usage

if TYPE_CHECKING:
    from azure.synapse.spark.models import SparkBatchJob

MACHINE = "synapse"


def use_of(batch: SparkBatchJob, vcores: int) -> JobUse | None:
    """What a batch used; none where it has not ended, or ended before it had vCores.

    Args:
        batch: As Livy and Synapse tell it, in detail.
        vcores: Of its driver and its executors, where the batch itself does not say.
    """
    livy, scheduler, plugin = batch.livy_info, batch.scheduler, batch.plugin
    if livy is None:
        return None
    started = _first(getattr(plugin, "submission_started_at", None), livy.running_at)
    finished = _first(getattr(scheduler, "ended_at", None), livy.success_at, livy.dead_at, livy.terminated_at)
    if started is None or finished is None:
        return None
    asked = livy.job_creation_request
    if asked is not None and asked.driver_cores and asked.executor_cores and asked.executor_count:
        vcores = asked.driver_cores + asked.executor_cores * asked.executor_count
    wall = max(0.0, (finished - started).total_seconds())
    usage = Usage(
        wall_seconds=round(wall, 3),
        cpu_seconds=0.0,
        peak_rss_bytes=0,
        vcpu_seconds=round(wall * vcores, 3),
        machine=MACHINE,
    )
    return JobUse(started, finished, usage)


def _first(*times: datetime | None) -> datetime | None:
    found = next((time for time in times if time is not None), None)
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
