"""The outbox: letters stand as files in the lake, so that many processes and machines share it and none is lost.

`post` writes one file and is done. `deliver` is done by one process at a time: it folds what arrived into what is known
already, and sends what is due. A letter's file goes only after a server has taken the mail; a process that is killed in
between sends it again with the same Message-ID.
"""

from __future__ import annotations

import itertools
import logging
import time
import uuid
from collections.abc import Sequence
from datetime import datetime

from noria.alerts.alert import Alert, Kind
from noria.alerts.folding import ARRIVED, OVER, fold
from noria.alerts.letters import Letter, Over
from noria.alerts.quiet import quiet_until
from noria.alerts.sending import PASS_SECONDS, Delivered, Send, send_due
from noria.errors import BusyError
from noria.pipeline import Alerts
from noria.pipeline.alerts import SEVERITIES
from noria.workspace import Workspace, to_json

log = logging.getLogger(__name__)
LOCK = "outbox"
_COUNT = itertools.count()


def post(alert: Alert, recipients: Sequence[str], policy: Alerts | None, workspace: Workspace) -> bool:
    """Put an alert into the outbox, unless nobody wants it.

    Args:
        alert: What happened.
        recipients: Addresses.
        policy: Which severities are wanted, and when it shall be quiet; none wants all, at once.
        workspace: Whose lake keeps it.

    Returns:
        Whether somebody wants it.

    Raises:
        StorageError: The lake cannot be written to.
    """
    policy = policy or Alerts()
    if not recipients or SEVERITIES.index(alert.level) < SEVERITIES.index(policy.least_severity):
        return False
    now = workspace.clock()
    letter = Letter(
        letter_id=_new_id(now),
        posted_at=now,
        recipients=tuple(dict.fromkeys(recipients)),
        quiet=policy.quiet_hours,
        alert=alert,
    )
    if not letter.urgent:
        letter = letter.model_copy(update={"not_before": quiet_until(letter.quiet, now)})
    workspace.lake.create(f"{ARRIVED}/{letter.letter_id}.json", to_json(letter))
    return True


def over(pipeline: str, kinds: Sequence[Kind], workspace: Workspace) -> None:
    """Say that whatever alerts of these kinds were about is over: the next one is news again.

    Raises:
        StorageError: The lake cannot be written to.
    """
    now = workspace.clock()
    ended = Over(pipeline=pipeline, kinds=tuple(kinds), at=now)
    workspace.lake.create(f"{ARRIVED}/{_new_id(now)}{OVER}", to_json(ended))


def deliver(
    workspace: Workspace, send: Send, now: datetime | None = None, *, seconds: float = PASS_SECONDS
) -> Delivered:
    """Fold what arrived, and send what is due. Where somebody else is at it, that one does it.

    Args:
        workspace: Whose lake keeps the letters.
        send: Hands one mail to a server.
        now: The present time, in UTC.
        seconds: After that no other letter is begun; the rest waits for the next who delivers.

    Raises:
        StorageError: The lake cannot be used. A server in trouble raises nothing; the letters wait.
    """
    lake = workspace.lake
    done, end = Delivered(), time.monotonic() + seconds
    while True:
        try:
            with lake.lock(LOCK, wait_seconds=0) as confirm:
                at = now or workspace.clock()
                fold(lake, at, confirm)
                done = done.and_then(send_due(lake, send, at, confirm, end))
        except BusyError:
            return done
        # Who found the lock taken relies on us to see a letter that came after we had looked.
        if time.monotonic() > end or next(iter(lake.list(ARRIVED)), None) is None:
            return done


def _new_id(now: datetime) -> str:
    """Names sort by time, and those of one process by the order in which it made them."""
    return f"{now:%Y%m%dT%H%M%S%f}-{next(_COUNT):06d}-{uuid.uuid4().hex[:12]}"
