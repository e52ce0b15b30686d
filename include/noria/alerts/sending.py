"""Sending what is due: digests put together, refusals kept by recipient, a server in trouble left alone for a while."""

from __future__ import annotations

import itertools
import logging
import smtplib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Protocol

from pydantic import ValidationError

from noria.alerts.alert import printable
from noria.alerts.digest import digest_alert
from noria.alerts.folding import WAITING, read_or_put_aside
from noria.alerts.letters import LONGEST_PAUSE, Letter, News, in_time, together
from noria.alerts.message import is_address, to_message
from noria.lake import Lake
from noria.records.base import Record
from noria.workspace import to_json

log = logging.getLogger(__name__)
UNDELIVERABLE, SERVER = "outbox/undeliverable", "outbox/server.json"
FIRST_PAUSE = timedelta(minutes=1)
"""How long a letter, or a server in trouble, is left alone; twice as long after each try, up to LONGEST_PAUSE."""
REFUSED_TRIES = 5
"""After that many a recipient whom the server refuses for good (5xx) is given up; over about half an hour."""
GIVEN_UP_AFTER = timedelta(days=5)
"""Then so is one whom it refuses for now (4xx), as RFC 5321, 4.5.4.1, has mail servers do."""
PASS_SECONDS = 30.0
"""How long a pass takes, if nobody says another time."""

Refused = Mapping[str, tuple[int, bytes | str]]


class Send(Protocol):
    """Hands one mail to a server."""

    def __call__(self, message: EmailMessage, recipients: Sequence[str]) -> Refused:
        """Send it to these recipients; those that the server refused, with its answers, as `smtplib` tells them."""


@dataclass(frozen=True)
class Delivered:
    """What a pass did.

    Attributes:
        sent: Mails that the server took.
        given_up: Letters put aside for good.
        trouble: Why the server could not be used.
    """

    sent: int = 0
    given_up: int = 0
    trouble: str = ""

    def and_then(self, later: Delivered) -> Delivered:
        """Two passes as one."""
        return Delivered(self.sent + later.sent, self.given_up + later.given_up, later.trouble)


class ServerTrouble(Record):
    """Since when the server has been in trouble, and when it is asked again."""

    since: datetime
    tries: int
    next_try: datetime
    why: str


def send_due(lake: Lake, send: Send, now: datetime, confirm: Callable[[], None], end: float) -> Delivered:
    """Send what may be sent now.

    Args:
        lake: Where the letters wait.
        send: Hands one mail to a server.
        now: The present time, in UTC.
        confirm: Raises where another process may be sending by now.
        end: Time (`time.monotonic`) after which no other letter is begun.
    """
    trouble = server_trouble(lake)
    if trouble is not None and in_time(trouble.next_try, now, LONGEST_PAUSE) > now:
        return Delivered(trouble=trouble.why)
    due = _bundled(lake, _waiting(lake), now)
    done = Delivered()
    for letter in sorted(due, key=lambda x: (x.setbacks, not x.urgent, x.posted_at)):
        if time.monotonic() > end:
            break
        confirm()
        try:
            refused = _hand_over(letter, send)
        except Exception as error:  # whatever it is, the letter stays
            why = printable(f"{type(error).__name__}: {error}")
            if trouble is None or trouble.why != why:  # said once
                log.warning("mails wait, because the server cannot be used: %s", why)
            _leave_alone(lake, trouble, now, why)
            # Should the letter be to blame, the others go first from now on.
            later = letter.model_copy(update={"setbacks": letter.setbacks + 1})
            lake.replace(f"{WAITING}/{letter.letter_id}.json", to_json(later))
            return done.and_then(Delivered(trouble=why))
        done = done.and_then(_mark(lake, letter, refused, now))
        if trouble is not None:
            lake.remove(SERVER)
            trouble = None
    return done


def _hand_over(letter: Letter, send: Send) -> Refused:
    """Send one letter; the recipients who were refused. Raises where that says nothing about the letter."""
    good = [recipient for recipient in letter.recipients if is_address(recipient)]
    refused: Refused = {
        recipient: (553, f"{recipient!r} is no address of a mail")
        for recipient in letter.recipients
        if recipient not in good
    }
    return {**refused, **_refused(letter, good, send)} if good else refused


def _refused(letter: Letter, recipients: Sequence[str], send: Send) -> Refused:
    """Send one letter to addresses."""
    message = to_message(letter.alert, recipients, letter_id=letter.letter_id, answers=letter.answers)
    try:
        return send(message, recipients)
    except smtplib.SMTPRecipientsRefused as error:
        refused: Refused = error.recipients
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        refused = dict.fromkeys(recipients, (error.smtp_code, error.smtp_error))
    if any(code == 421 for code, _ in refused.values()):  # the server is about to hang up
        raise smtplib.SMTPServerDisconnected(str(refused))
    return refused


def _mark(lake: Lake, letter: Letter, refused: Refused, now: datetime) -> Delivered:
    """Remember who has it: the letter goes, or stays for those who were refused."""
    path = f"{WAITING}/{letter.letter_id}.json"
    if not refused:
        lake.remove(path)
        return Delivered(sent=1)
    sent = int(len(refused) < len(letter.recipients))
    tries = letter.tries + 1
    left = letter.model_copy(
        update={
            "recipients": tuple(r for r in letter.recipients if r in refused),
            "tries": tries,
            "next_try": now + _pause(tries),
            "trouble": {r: _answer(answer) for r, answer in refused.items()},
        }
    )
    given_up, kept = _split(left, refused, now)
    log.warning("mail “%s” refused: %s", letter.alert.subject, left.trouble)
    if given_up:
        name = f"{letter.letter_id}-{tries}.json"
        lake.create(f"{UNDELIVERABLE}/{name}", to_json(left.model_copy(update={"recipients": given_up})))
    if kept:
        lake.replace(path, to_json(left.model_copy(update={"recipients": kept})))
    else:
        lake.remove(path)
    return Delivered(sent=sent, given_up=int(bool(given_up)))


def _split(letter: Letter, refused: Refused, now: datetime) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Recipients to give up, and those to try again."""
    too_old = now - letter.posted_at >= GIVEN_UP_AFTER
    too_often = letter.tries >= REFUSED_TRIES
    given_up = tuple(r for r in letter.recipients if too_old or (too_often and refused[r][0] >= 500))
    return given_up, tuple(r for r in letter.recipients if r not in given_up)


def _bundled(lake: Lake, waiting: Sequence[Letter], now: datetime) -> list[Letter]:
    """The letters that are due, with one digest in the place of all that waited for the same people."""
    taken = {part for letter in waiting for part in letter.parts}
    for part in taken:  # of a bundle that a killed process has made
        lake.remove(f"{WAITING}/{part}.json")
    letters = [letter for letter in waiting if letter.is_due(now) and letter.letter_id not in taken]

    def bundle_for(letter: Letter) -> tuple[str, ...]:
        if letter.tries or letter.alert.kind == "approval":  # a question has a mail of its own, with all it is about
            return ()
        return letter.recipients if letter.news or letter.not_before else ()

    bundled: list[Letter] = []
    for recipients, group in itertools.groupby(sorted(letters, key=bundle_for), key=bundle_for):
        parts = list(group)
        bundled.extend(parts if not recipients or len(parts) == 1 else [_bundle(lake, parts, now)])
    return bundled


def _bundle(lake: Lake, parts: Sequence[Letter], now: datetime) -> Letter:
    """One digest for several letters; it stands before they go."""
    news: dict[str, News] = {}
    for item in (item for part in sorted(parts, key=lambda x: x.posted_at) for item in part.about):
        news[item.key] = together(news[item.key], item) if item.key in news else item
    bundle = Letter(
        letter_id=f"{parts[0].letter_id}-digest",
        posted_at=now,
        recipients=parts[0].recipients,
        alert=digest_alert(tuple(news.values())),
        news=tuple(news.values()),
        parts=tuple(part.letter_id for part in parts),
        answers=tuple(answer for part in parts for answer in part.answers),
    )
    lake.create(f"{WAITING}/{bundle.letter_id}.json", to_json(bundle))
    for part in bundle.parts:
        lake.remove(f"{WAITING}/{part}.json")
    return bundle


def _waiting(lake: Lake) -> list[Letter]:
    return [letter for path in list(lake.list(WAITING)) if (letter := read_or_put_aside(lake, path, Letter))]


def server_trouble(lake: Lake) -> ServerTrouble | None:
    """What is wrong with the server, if the last try failed."""
    try:
        return ServerTrouble.model_validate_json(lake.read(SERVER))
    except (FileNotFoundError, ValidationError):
        return None


def _leave_alone(lake: Lake, before: ServerTrouble | None, now: datetime, why: str) -> None:
    tries = before.tries + 1 if before else 1
    since = before.since if before else now
    lake.replace(SERVER, to_json(ServerTrouble(since=since, tries=tries, next_try=now + _pause(tries), why=why)))


def _pause(tries: int) -> timedelta:
    return min(FIRST_PAUSE * (1 << min(tries - 1, 10)), LONGEST_PAUSE)


def _answer(answer: tuple[int, bytes | str]) -> str:
    code, text = answer
    return printable(f"{code} {text.decode(errors='replace') if isinstance(text, bytes) else text}")
