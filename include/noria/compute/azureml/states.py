"""Azure ML's words for how a job is."""

from __future__ import annotations

import re

from noria.compute.remote import JobState
from noria.errors import AccessError, ExitCode, NoriaError, QuotaError

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


_EXIT = re.compile(r"exited with status code (\d+)")
_FINAL_EXITS = (ExitCode.BAD_INPUT, ExitCode.REJECTED, ExitCode.INVALID_DATA)
_IMAGE = re.compile(r"image build|build\w* .{0,40}(image|environment)", re.I)


def may_pass(reason: NoriaError, code: str, message: str) -> bool:
    """Whether another job may do better than one that has failed.

    Azure ML calls each end of a process but 0 the user's error; which of them are final is told by Noria's exit codes.

    Args:
        reason: What it was taken for.
        code: Azure ML's code.
        message: Its sentence.
    """
    if reason.retryable:
        return True
    if isinstance(reason, AccessError | QuotaError) or _IMAGE.search(message):
        return False
    if status := _EXIT.search(message):
        return int(status[1]) not in _FINAL_EXITS
    return "usererror" not in code.lower()
