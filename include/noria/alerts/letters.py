"""What the outbox keeps: letters, the causes that fold them, and what a digest tells."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AwareDatetime, Field

from noria.alerts.alert import Alert, Kind
from noria.alerts.quiet import quiet_until
from noria.pipeline.alerts import AlertSeverity, QuietHours
from noria.records.base import Record

SHOWN_RUNS = 20
"""How many of the newest runs a digest links to."""
LONGEST_PAUSE = timedelta(hours=1)
"""Between two tries."""
_LONGEST_QUIET = timedelta(hours=25)
"""Quiet hours of a day when clocks are set back."""


LetterId = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]
"""It is part of a path."""


class Occurrence(Record):
    """One time that something happened; the address is that of the run, if there is one."""

    at: AwareDatetime
    run_id: str = ""
    url: str = ""


class News(Record):
    """What a digest tells of one cause.

    Attributes:
        key: What makes it one, see `Alert.key`.
        times: How often it happened.
        over_at: When something said that it is over.
        occurrences: The newest ones, oldest first.
        details: What the first one said, in short.
        links: Where the first one led to, but for the run.
    """

    key: str
    pipeline: str
    kind: Kind
    level: AlertSeverity
    happened: str
    times: int
    first_at: AwareDatetime
    last_at: AwareDatetime
    over_at: AwareDatetime | None = None
    occurrences: tuple[Occurrence, ...] = ()
    details: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()


class Letter(Record):
    """A mail on its way.

    Attributes:
        letter_id: Also makes its Message-ID, so that one that arrives twice can be told to be the same.
        recipients: Those who have not got it yet.
        quiet: When it must not be sent, unless it is critical.
        alert: What it says.
        news: What it tells, if it is a digest.
        parts: The letters whose place a digest takes.
        answers: Ids of the letters that it follows up.
        not_before: End of the quiet hours in which it came.
        reached: Whether somebody has got it.
        tries: How often it was refused.
        setbacks: How often the server was lost over it.
        next_try: When it is tried again.
        trouble: Why it could not be delivered, by recipient.
    """

    letter_id: LetterId
    posted_at: AwareDatetime
    recipients: tuple[str, ...]
    alert: Alert
    quiet: QuietHours | None = None
    news: tuple[News, ...] = ()
    parts: tuple[LetterId, ...] = ()
    answers: tuple[LetterId, ...] = ()
    not_before: AwareDatetime | None = None
    reached: bool = False
    tries: int = 0
    setbacks: int = 0
    next_try: AwareDatetime | None = None
    trouble: dict[str, str] = Field(default_factory=dict)

    @property
    def about(self) -> tuple[News, ...]:
        """What a digest says of it."""
        return self.news or (news_of(self.alert, self.recipients, self.posted_at),)

    def is_due(self, now: datetime) -> bool:
        """Whether it may be sent."""
        return not self.is_held(now) and (self.next_try is None or in_time(self.next_try, now, LONGEST_PAUSE) <= now)

    def is_held(self, now: datetime) -> bool:
        """Whether it waits for the end of quiet hours: of those in which it came, or now, if the server was away."""
        if not self.urgent and quiet_until(self.quiet, now) is not None:
            return True
        return self.not_before is not None and in_time(self.not_before, now, _LONGEST_QUIET) > now

    @property
    def urgent(self) -> bool:
        """Whether it waits for no quiet hours."""
        return self.alert.level == "critical" and not self.news


class Over(Record):
    """Something that ends causes: a good run of the pipeline."""

    pipeline: str
    kinds: tuple[Kind, ...]
    at: AwareDatetime


class Cause(Record):
    """Why letters are folded: one has been sent, and what followed is counted.

    Attributes:
        news: What followed.
        first: Id of the letter that was sent.
        counted: Letters that are in `news` already, though they may still stand where they arrived.
    """

    news: News
    first: LetterId
    opened_at: AwareDatetime
    recipients: tuple[str, ...]
    quiet: QuietHours | None = None
    counted: tuple[LetterId, ...] = ()


def in_time(at: datetime, now: datetime, longest: timedelta) -> datetime:
    """A time that was set to be waited for; now, where it is further off than any, as after a clock was ahead."""
    return at if at - now <= longest else now


def news_of(alert: Alert, recipients: Sequence[str], at: datetime) -> News:
    """An alert as a line of a digest."""
    links = dict(alert.links)
    run_url = links.pop("Run", "")
    return News(
        key=alert.key(recipients),
        pipeline=alert.pipeline,
        kind=alert.kind,
        level=alert.level,
        happened=alert.happened,
        times=1,
        first_at=at,
        last_at=at,
        occurrences=(Occurrence(at=at, run_id=alert.run_id, url=run_url),),
        details=alert.in_short,
        links=tuple(links.items()),
    )


def together(one: News, other: News) -> News:
    """Two accounts of one cause."""
    return one.model_copy(
        update={
            "times": one.times + other.times,
            "first_at": min(one.first_at, other.first_at),
            "last_at": max(one.last_at, other.last_at),
            "over_at": other.over_at or one.over_at,
            "occurrences": (*one.occurrences, *other.occurrences)[-SHOWN_RUNS:],
        }
    )
