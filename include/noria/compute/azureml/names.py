"""What a job is called: it follows from the run, so that whoever asks again finds it."""

from __future__ import annotations

import hashlib
import re

LONGEST = 90
"""Azure ML allows more; a name is also part of paths and of Studio's lists, and a suffix has to fit behind it."""


def safe_name(text: str) -> str:
    """A name that Azure ML takes: small letters, digits, `-` and `_`, a letter or a digit first.

    The SDK submits a job under its name in small letters, and who asks for it in large ones finds nothing. A text that
    fits stays as it is; in any other a hash of the whole keeps what was cut or replaced apart, and its end, which names
    the stage, stays readable.
    """
    safe = re.sub(r"[^a-z0-9_-]", "-", text.lower()).lstrip("-_") or "job"
    if safe == text and len(safe) <= LONGEST:
        return safe
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    head, _, stage = safe.rpartition("-")
    room = LONGEST - len(digest) - len(stage) - 2
    return f"{head[:room]}-{digest}-{stage}" if head and room > 0 else f"{safe[: LONGEST - 9]}-{digest}"


def attempt_name(name: str, attempt: int) -> str:
    """The name of a further attempt, after those before it have failed."""
    return name if attempt == 1 else f"{name}-{attempt}"
