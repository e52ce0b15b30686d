"""What every job leaves behind of its use, however it ends."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from types import TracebackType

from noria.compute.meter import Meter
from noria.costs.usage import keep_usage
from noria.lake.counted import CountedLake
from noria.records import JobUsage, Run, Usage
from noria.workspace import Workspace

log = logging.getLogger("noria")


class Metering:
    """Meter a job of a run while the context lasts, and leave in the lake what it used, done or failed.

    The context gives the workspace that the job is to use: it counts what the lake is asked.

    Args:
        stage: What the job does.
        run: Whose job it is.
        workspace: The world.
        whole_process: This process does nothing else, so that its start and its imports belong to the job too.

    Attributes:
        job: What this process used, once the context has ended.
    """

    job: JobUsage

    def __init__(self, stage: str, run: Run, workspace: Workspace, *, whole_process: bool = False) -> None:
        self._stage, self._run, self._workspace = stage, run, workspace
        self._lake = CountedLake(workspace.lake)
        self._elsewhere = workspace.elsewhere
        self._meter = Meter(whole_process=whole_process)

    def __enter__(self) -> Workspace:
        self._meter.__enter__()
        return replace(self._workspace, lake=self._lake)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._meter.__exit__(kind, value, trace)
        finished = self._workspace.clock()
        own = self._meter.usage
        node = self._workspace.settings.node
        self.job = JobUsage(
            pipeline=self._run.pipeline.name,
            run_id=self._run.run_id,
            stage=self._stage,
            started_at=finished - timedelta(seconds=own.wall_seconds),
            finished_at=finished,
            outcome="done" if kind is None else "failed",
            usage=own.model_copy(
                update={
                    "stored_bytes": self._lake.stored_bytes,
                    "requests": self._lake.requests,
                    "write_requests": self._lake.write_requests,
                    "machine": self._workspace.settings.machine,
                    "vcpu_seconds": own.vcpu_seconds * node.count,
                }
            ),
        )
        for job in (self.job, *self._elsewhere):
            keep_usage(job, self._workspace.lake)

    @property
    def usage(self) -> Usage:
        """Of this process and of the jobs elsewhere together."""
        return together([self.job, *self._elsewhere])


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
