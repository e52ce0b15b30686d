"""What every job leaves behind of its use, however it ends."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from types import TracebackType
from typing import Literal

from noria.compute.meter import Meter
from noria.compute.remote import JobUse
from noria.costs.usage import keep_usage, usage_of_run
from noria.lake import Lake
from noria.lake.counted import CountedLake
from noria.records import JobUsage, Run, Usage
from noria.workspace import Workspace

log = logging.getLogger(__name__)


class Metering:
    """Meter a job of a run while the context lasts, and leave in the lake what it used, done or failed.

    Args:
        stage: What the job does.
        pipeline, run_id: Whose job it is.
        workspace: The world.
        whole_process: This process does nothing else, so that its start and its imports belong to the job too.
        is_node: This process and its children are one of the nodes of a job on several; any other process in such a
            job stands for all nodes, and leaves the accounts to those.

    Attributes:
        workspace: What the job is to use: its lake counts what it is asked.
        has_failed: To be set where a job ends badly without an error.
        job: What this process used, once the context has ended.
    """

    job: JobUsage

    def __init__(
        self,
        stage: str,
        pipeline: str,
        run_id: str,
        workspace: Workspace,
        *,
        whole_process: bool = False,
        is_node: bool = False,
    ) -> None:
        self._stage, self._pipeline, self._run_id, self._lake = stage, pipeline, run_id, workspace.lake
        self._counted = CountedLake(workspace.lake)
        self.workspace = replace(workspace, lake=self._counted, elsewhere=list(workspace.elsewhere))
        self.has_failed = False
        self._nodes = 1 if is_node else workspace.settings.node.count
        self._meter = Meter(whole_process=whole_process)

    def __enter__(self) -> Metering:
        self._meter.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._meter.__exit__(kind, value, trace)
        finished = self.workspace.clock()
        own = self._meter.usage
        self.job = JobUsage(
            pipeline=self._pipeline,
            run_id=self._run_id,
            stage=self._stage,
            started_at=finished - timedelta(seconds=own.wall_seconds),
            finished_at=finished,
            outcome="failed" if self.has_failed and kind is None else _outcome(kind),
            usage=own.model_copy(
                update={
                    "stored_bytes": self._counted.stored_bytes,
                    "requests": self._counted.requests,
                    "write_requests": self._counted.write_requests,
                    "machine": self.workspace.settings.machine,
                    "vcpu_seconds": own.vcpu_seconds * self._nodes,
                }
            ),
        )
        for job in (*([self.job] if self._nodes == 1 else []), *self.workspace.elsewhere):
            keep_usage(job, self._lake)

    @property
    def usage(self) -> Usage:
        """Of this process and of the jobs elsewhere together."""
        return together([self.job, *self.workspace.elsewhere])


def _outcome(error: type[BaseException] | None) -> Literal["done", "failed", "killed"]:
    """What became of a job, by how it ended; a platform that ends it does so by SIGTERM."""
    if error is None:
        return "done"
    return "failed" if issubclass(error, Exception) else "killed"


def keep_untold(use: JobUse, run: Run, stage: str, lake: Lake) -> None:
    """Account as killed for what a job used that did not end well, as seen from outside, unless it did so itself.

    Of a job on several nodes each tells its own part, so only the part of those that did not is kept. Whatever goes
    wrong here is told, and changes nothing else.

    Args:
        use: What all nodes used together.
        run: Whose job it was.
        stage: What it did.
        lake: Keeps the accounts.
    """
    untold = use.nodes
    try:
        untold -= _told(use, run, stage, lake)
    except Exception as error:
        log.warning("whether %s has told what it used is not known, so it is taken not to: %s", stage, error)
    if untold <= 0:
        return
    held = {name: getattr(use.usage, name) * untold / use.nodes for name in ("vcpu_seconds", "memory_byte_seconds")}
    part = replace(use, usage=use.usage.model_copy(update={name: round(value, 3) for name, value in held.items()}))
    keep_usage(part.of(run, stage, "killed"), lake)


def _told(use: JobUse, run: Run, stage: str, lake: Lake) -> int:
    """How many accounts of this stage ended since the job began; those of earlier attempts ended before."""
    first, last = (at.astimezone(UTC).date() for at in (use.started_at, use.finished_at))
    jobs = usage_of_run(first, last, run.pipeline.name, run.run_id, lake)
    return sum(job.stage == stage and job.finished_at >= use.started_at for job in jobs)


def together(jobs: Sequence[JobUsage]) -> Usage:
    """What several jobs used for one stage: from the first one's start to the last one's end, the rest added up.

    The machine is that of the job which held the most vCPUs for the longest.
    """
    dearest = max(jobs, key=lambda job: job.usage.vcpu_seconds)
    wall = max(job.finished_at for job in jobs) - min(job.started_at for job in jobs)
    added = ("cpu_seconds", "vcpu_seconds", "memory_byte_seconds", "stored_bytes", "requests", "write_requests")
    sums = {name: round(sum(getattr(job.usage, name) for job in jobs), 3) for name in added}
    peak = max(job.usage.peak_rss_bytes for job in jobs)
    return dearest.usage.model_copy(
        update=sums | {"peak_rss_bytes": peak, "wall_seconds": round(wall.total_seconds(), 3)}
    )
