"""Azure ML's words for how a job is."""

from __future__ import annotations

from noria.compute.remote import JobState

_STATES: dict[str, JobState] = {
    "NotStarted": "waiting",
    "Starting": "waiting",
    "Provisioning": "waiting",
    "Preparing": "waiting",
    "Queued": "waiting",
    "Scheduled": "waiting",
    "Paused": "waiting",
    "Unknown": "waiting",
    "Running": "running",
    "Finalizing": "running",
    "NotResponding": "running",  # its heartbeats are missing; Azure ML decides whether it has failed
    "CancelRequested": "running",
    "Completed": "succeeded",
    "Failed": "failed",
    "Canceled": "cancelled",
}


def state_of(word: str) -> JobState:
    """The state that all platforms share; a word that is not known yet says that it is not over."""
    return _STATES.get(word, "waiting")


def is_final(word: str) -> bool:
    """Whether nothing will change any more."""
    return word in ("Completed", "Failed", "Canceled")


def is_lost(word: str) -> bool:
    """Whether a job has no result and will have none, so that whoever wants one needs another job."""
    return word in ("Failed", "Canceled", "CancelRequested")
