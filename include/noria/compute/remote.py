"""Jobs that run elsewhere: what every platform (Synapse, Azure ML) has to offer.

A job has a name that follows from the run, so whoever asks again finds it instead of submitting a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from noria.records import JobUsage, Run, Usage

JobState = Literal["waiting", "running", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True)
class JobStatus:
    """How a job is.

    Attributes:
        state: In words that all platforms share; the last three are final.
        detail: The platform's own word, and its reason where there is one.
        retryable: Whether another job like it may do better, where this one has failed.
    """

    state: JobState
    detail: str = ""
    retryable: bool = True

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class JobUse:
    """What a job used, as whoever watched it from outside knows.

    Attributes:
        started_at: When it had its machine.
        finished_at: When it had ended.
        usage: What it used; CPU seconds are 0 where nobody knows them.
        nodes: How many machines it held.
    """

    started_at: datetime
    finished_at: datetime
    usage: Usage
    nodes: int = 1

    def of(self, run: Run, stage: str, outcome: Literal["done", "failed", "killed"]) -> JobUsage:
        """The account of the job that did this for a run."""
        return JobUsage(
            pipeline=run.pipeline.name,
            run_id=run.run_id,
            stage=stage,
            started_at=self.started_at,
            finished_at=self.finished_at,
            outcome=outcome,
            usage=self.usage,
        )


class RemoteJobs(Protocol):
    """A platform's jobs. Every method raises NoriaError; what may pass is retryable. All methods block."""

    def status(self, job_id: str) -> JobStatus:
        """How the job is now."""

    def log(self, job_id: str, position: int) -> tuple[str, int]:
        """What its driver has written from `position` on, and the next position; nothing yet is an empty text."""

    def use(self, job_id: str) -> JobUse | None:
        """What it used, once it has ended; none where the platform does not say, or it never had a machine."""

    def cancel(self, job_id: str) -> None:
        """End it; nothing happens where it has ended, or where there is none."""

    def link(self, job_id: str) -> str:
        """Where a person looks at it in the platform's own pages."""
