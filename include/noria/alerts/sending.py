"""Sending what is due: digests put together, refusals kept by recipient, a server in trouble left alone for a while."""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
import smtplib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Protocol

from pydantic import AwareDatetime, ValidationError

from noria.alerts.alert import printable
from noria.alerts.digest import digest_alert
from noria.alerts.folding import WAITING, forget, read_or_put_aside
from noria.alerts.letters import LONGEST_PAUSE, Letter, News, in_time, together
from noria.alerts.message import MOST_REFERENCES, is_address, to_message
from noria.lake import Lake
from noria.records.base import Record
from noria.workspace import to_json

log = logging.getLogger(__name__)
UNDELIVERABLE, SERVER = "outbox/undeliverable", "outbox/server.json"
FIRST_PAUSE = timedelta(minutes=1)
"""How long a letter, or a server in trouble, is left alone; twice as long after each try, up to LONGEST_PAUSE."""
REFUSED_TRIES = 5
"""After that many a recipient whom the server refuses for good (5xx) is given up; over a quarter of an hour or more."""
GIVEN_UP_AFTER = timedelta(days=5)
"""Then so is one whom it refuses for now (4xx), as RFC 5321, 4.5.4.1, has mail servers do, and a letter over
which the server is lost."""
PASS_SECONDS = 30.0
"""How long a pass takes, if nobody says another time."""

_NOT_ALLOWED = re.compile(r"^(53[0458] |\d+ 5\.7\.\d)|\brelay|send ?as|authenticat", re.IGNORECASE)
"""Answers that are about the login or the sender, also where all recipients get them."""

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
    """Since when the server has been in trouble, and when it is asked again.

    Attributes:
        tries: How often it was asked in vain; the same letter again and again is once, as it may be to blame.
        letter_id: The letter that was tried last.
    """

    since: AwareDatetime
    tries: int
    next_try: AwareDatetime
    why: str
    letter_id: str = ""


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
    done = Delivered()
    due = _bundled(lake, _waiting(lake, now), now)
    due.sort(key=lambda x: (x.setbacks, not x.urgent, x.posted_at))
    for number, letter in enumerate(due):
        if time.monotonic() > end:
            break
        confirm()
        try:
            refused, asked = _hand_over(letter, send)
        except Exception as error:  # whatever it is, the letter stays
            why = printable(f"{type(error).__name__}: {error}")
            done = done.and_then(_set_back(lake, letter, why, now))
            if trouble is None and letter.setbacks:  # the server has done well since: the letter is to blame
                continue
            if trouble is None or trouble.why != why:  # said once
                log.warning("mails wait, because the server cannot be used: %s", why)
            for other in due[number + 1 :]:  # which are not tried, and grow old all the same
                if _is_too_old(other, now):
                    done = done.and_then(_set_back(lake, other, why, now))
            _leave_alone(lake, trouble, letter, now, why)
            return done.and_then(Delivered(trouble=why))
        done = done.and_then(_mark(lake, letter, refused, now))
        if trouble is not None and asked:
            lake.remove(SERVER)
            trouble = None
    return done


def _hand_over(letter: Letter, send: Send) -> tuple[Refused, bool]:
    """Send one letter; the recipients who were refused, and whether a server was asked. Raises for trouble of it."""
    good = [recipient for recipient in letter.recipients if is_address(recipient)]
    refused: Refused = {
        recipient: (553, f"{recipient!r} is no address of a mail")
        for recipient in letter.recipients
        if recipient not in good
    }
    if not good:
        return refused, False
    try:
        message = to_message(letter.alert, good, letter_id=letter.letter_id, answers=letter.answers)
    except Exception as error:  # no server has a part in it
        return dict.fromkeys(letter.recipients, (554, f"cannot be written: {type(error).__name__}: {error}")), False
    return {**refused, **_refused(message, good, send)}, True


def _refused(message: EmailMessage, recipients: Sequence[str], send: Send) -> Refused:
    """Send one mail to addresses."""
    try:
        return send(message, recipients)
    except smtplib.SMTPRecipientsRefused as error:
        refused: Refused = error.recipients
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        if isinstance(error, smtplib.SMTPSenderRefused) and error.smtp_code != 552:  # which is its size
            raise
        refused = dict.fromkeys(recipients, (error.smtp_code, error.smtp_error))
    answers = [_answer(answer) for answer in refused.values()]
    if any(answer.startswith("421") for answer in answers):  # the server is about to hang up
        raise smtplib.SMTPServerDisconnected(str(refused))
    if all(_NOT_ALLOWED.search(answer) for answer in answers):
        raise smtplib.SMTPException(answers[0])
    return refused


def _set_back(lake: Lake, letter: Letter, why: str, now: datetime) -> Delivered:
    """Let a letter over which the server was lost wait by itself, for some days."""
    setbacks = letter.setbacks + 1
    later = letter.model_copy(
        update={
            "setbacks": setbacks,
            "next_try": now + _pause(setbacks),
            "trouble": dict.fromkeys(letter.recipients, why),
        }
    )
    if _is_too_old(letter, now):
        return _keep_some(lake, later, given_up=letter.recipients)
    return _keep_some(lake, later)


def _mark(lake: Lake, letter: Letter, refused: Refused, now: datetime) -> Delivered:
    """Remember who has it: the letter goes, or stays for those who were refused."""
    if not refused:
        lake.remove(f"{WAITING}/{letter.letter_id}.json")
        return Delivered(sent=1)
    sent = len(refused) < len(letter.recipients)
    tries = letter.tries + 1
    left = letter.model_copy(
        update={
            "recipients": tuple(r for r in letter.recipients if r in refused),
            "reached": letter.reached or sent,
            "tries": tries,
            "next_try": now + _pause(tries),
            "trouble": {r: _answer(answer) for r, answer in refused.items()},
        }
    )
    log.warning("mail “%s” refused: %s", letter.alert.subject, left.trouble)
    return Delivered(sent=int(sent)).and_then(_keep_some(lake, left, given_up=_hopeless(left, refused, now)))


def _keep_some(lake: Lake, letter: Letter, given_up: tuple[str, ...] = ()) -> Delivered:
    """Put a letter aside for those who are given up, and keep it for the others."""
    kept = tuple(recipient for recipient in letter.recipients if recipient not in given_up)
    if given_up:
        name = f"{letter.letter_id}-{letter.tries + letter.setbacks}.json"
        lake.create(f"{UNDELIVERABLE}/{name}", to_json(letter.model_copy(update={"recipients": given_up})))
    path = f"{WAITING}/{letter.letter_id}.json"
    if kept:
        lake.replace(path, to_json(letter.model_copy(update={"recipients": kept})))
    else:
        if not letter.reached:
            forget(lake, letter)
        lake.remove(path)
    return Delivered(given_up=int(bool(given_up)))


def _hopeless(letter: Letter, refused: Refused, now: datetime) -> tuple[str, ...]:
    """Recipients to give up."""
    too_often = letter.tries >= REFUSED_TRIES
    return tuple(r for r in letter.recipients if _is_too_old(letter, now) or (too_often and refused[r][0] >= 500))


def _is_too_old(letter: Letter, now: datetime) -> bool:
    return now - letter.posted_at >= GIVEN_UP_AFTER


def _bundled(lake: Lake, waiting: Sequence[Letter], now: datetime) -> list[Letter]:
    """The letters that are due, with one digest in the place of all that waited for the same people."""
    taken = {part for letter in waiting for part in letter.parts}
    for part in taken:  # of a bundle that a killed process has made
        lake.remove(f"{WAITING}/{part}.json")
    letters = [letter for letter in waiting if letter.is_due(now) and letter.letter_id not in taken]

    def bundle_for(letter: Letter) -> tuple[str, tuple[str, ...]]:
        # A question has a mail of its own, with all it is about; and what is in trouble stays in it alone.
        if letter.tries or letter.setbacks or letter.alert.kind == "approval":
            return "", ()
        quiet = letter.quiet.model_dump_json() if letter.quiet else ""
        return (quiet, letter.recipients) if letter.news or letter.not_before else ("", ())

    bundled: list[Letter] = []
    for (_, recipients), group in itertools.groupby(sorted(letters, key=bundle_for), key=bundle_for):
        parts = list(group)
        bundled.extend(parts if not recipients or len(parts) == 1 else _bundle_of(lake, parts, now))
    return bundled


def _bundle_of(lake: Lake, parts: list[Letter], now: datetime) -> list[Letter]:
    """One digest for several letters, which stands before they go; they themselves, where none can be made."""
    try:
        bundle = _bundle(parts, now)
        lake.create(f"{WAITING}/{bundle.letter_id}.json", to_json(bundle))
    except Exception:
        log.exception("no digest can be made of %d mails; they go out one by one", len(parts))
        return parts
    for part in bundle.parts:
        lake.remove(f"{WAITING}/{part}.json")
    return [bundle]


def _bundle(parts: Sequence[Letter], now: datetime) -> Letter:
    """One digest for several letters."""
    news: dict[str, News] = {}
    for item in (item for part in sorted(parts, key=lambda x: x.posted_at) for item in part.about):
        news[item.key] = together(news[item.key], item) if item.key in news else item
    ids = tuple(part.letter_id for part in parts)
    return Letter(
        letter_id=f"{_hash(*ids)}-digest",
        posted_at=now,
        recipients=parts[0].recipients,
        quiet=parts[0].quiet,
        alert=digest_alert(tuple(news.values())),
        news=tuple(news.values()),
        parts=ids,
        answers=tuple(answer for part in parts for answer in part.answers)[-MOST_REFERENCES:],
    )


def _waiting(lake: Lake, now: datetime) -> list[Letter]:
    return [
        letter if path == f"{WAITING}/{letter.letter_id}.json" else _anew(lake, path, letter, now)
        for path in list(lake.list(WAITING))
        if (letter := read_or_put_aside(lake, path, Letter))
    ]


def _anew(lake: Lake, path: str, letter: Letter, now: datetime) -> Letter:
    """A letter that a person has put back under the name that it was given up by: nothing has been tried yet."""
    anew = letter.model_copy(
        update={
            "letter_id": f"{_hash(path)}-anew",
            "posted_at": now,
            "not_before": None,
            "tries": 0,
            "setbacks": 0,
            "next_try": None,
            "parts": (),
        }
    )
    lake.create(f"{WAITING}/{anew.letter_id}.json", to_json(anew))
    lake.remove(path)
    return anew


def _hash(*names: str) -> str:
    return hashlib.sha256("\0".join(names).encode()).hexdigest()[:24]


def server_trouble(lake: Lake) -> ServerTrouble | None:
    """What is wrong with the server, if the last try failed."""
    try:
        return ServerTrouble.model_validate_json(lake.read(SERVER))
    except (FileNotFoundError, ValidationError):
        return None


def _leave_alone(lake: Lake, before: ServerTrouble | None, letter: Letter, now: datetime, why: str) -> None:
    tries, since = (before.tries, before.since) if before else (0, now)
    if before is None or before.letter_id != letter.letter_id:
        tries += 1
    next_try = now + _pause(tries)
    lake.replace(
        SERVER,
        to_json(ServerTrouble(since=since, tries=tries, next_try=next_try, why=why, letter_id=letter.letter_id)),
    )


def _pause(tries: int) -> timedelta:
    return min(FIRST_PAUSE * (1 << min(tries - 1, 10)), LONGEST_PAUSE)


def _answer(answer: tuple[int, bytes | str]) -> str:
    code, text = answer
    return printable(f"{code} {text.decode(errors='replace') if isinstance(text, bytes) else text}")
