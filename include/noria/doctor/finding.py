"""What a check tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from noria.errors import NoriaError

Status = Literal["ok", "warn", "fail"]
Verdict = tuple[Status, str, str]
"""Status, what was seen, and what to do."""


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        subject: What was looked at.
        status: ok, warn (works, but) or fail.
        detail: What was seen.
        remedy: What to do; empty if ok.
    """

    subject: str
    status: Status
    detail: str
    remedy: str = ""


def found(subject: str, check: Callable[[], Verdict]) -> Finding:
    """Run a check; an error of ours and of the system is a finding."""
    try:
        return Finding(subject, *check())
    except NoriaError as error:
        return Finding(subject, "fail", *split(error))
    except OSError as error:
        return Finding(subject, "fail", str(error), "Mend what the system says.")


def split(error: NoriaError) -> tuple[str, str]:
    """What was seen, and the remedy."""
    text = str(error)
    return (text.removesuffix(error.remedy).strip(), error.remedy) if error.remedy else (text, "")
