"""How the outbox stands: what waits and why, and what nobody can be given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from noria.alerts.folding import ARRIVED, OVER, UNREADABLE, WAITING
from noria.alerts.letters import Letter
from noria.alerts.sending import UNDELIVERABLE, server_trouble
from noria.lake import Lake

LOOKED_AT_WITHIN = timedelta(hours=1)
"""After that who sends mails is not at work: `send_alerts` looks every 15 minutes."""


@dataclass(frozen=True)
class OutboxState:
    """What stands in the outbox.

    Attributes:
        arrived: Letters that nobody has looked at yet, and need not have.
        held: Letters that wait for the end of quiet hours.
        overdue: Letters that should have been sent by now.
        undeliverable: Paths of letters that were given up, and of files that nobody can read.
        trouble: Why the server cannot be used, and since when.
        refused: Why one of those overdue could not be sent, though the server can be used.
    """

    arrived: int
    held: int
    overdue: int
    undeliverable: tuple[str, ...]
    trouble: str = ""
    refused: str = ""


def look(lake: Lake, now: datetime) -> OutboxState:
    """Read how the outbox stands, and change nothing.

    Raises:
        StorageError: The lake cannot be read.
    """
    letters = [letter for path in list(lake.list(WAITING)) if (letter := _read(lake, path))]
    unseen = [path for path in list(lake.list(ARRIVED)) if not path.endswith(OVER)]
    arrived = [letter.posted_at for path in unseen if (letter := _read(lake, path))]
    held = sum(letter.tries == 0 and letter.is_held(now) for letter in letters)
    trouble = server_trouble(lake)
    return OutboxState(
        arrived=sum(now - at < LOOKED_AT_WITHIN for at in arrived),
        held=held,
        overdue=len(letters) - held + sum(now - at >= LOOKED_AT_WITHIN for at in arrived),
        undeliverable=(*lake.list(UNDELIVERABLE), *lake.list(UNREADABLE)),
        trouble=f"since {trouble.since:%Y-%m-%d %H:%M} UTC: {trouble.why}" if trouble else "",
        refused=next((why for letter in letters for why in letter.trouble.values()), ""),
    )


def _read(lake: Lake, path: str) -> Letter | None:
    try:
        return Letter.model_validate_json(lake.read(path))
    except (FileNotFoundError, ValidationError):  # sent meanwhile, or put aside by the next who sends
        return None
