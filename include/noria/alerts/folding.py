"""Folding: one mail for one cause. What follows it is counted, and told in a digest when the cause is over."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from pydantic import ValidationError

from noria.alerts.digest import digest_alert
from noria.alerts.letters import Cause, Letter, Over, news_of, together
from noria.alerts.quiet import quiet_until
from noria.lake import Lake
from noria.records.base import Record
from noria.workspace import safe_run_id, to_json

log = logging.getLogger(__name__)
ARRIVED, CAUSES, WAITING, UNREADABLE = "outbox/arrived", "outbox/causes", "outbox/waiting", "outbox/unreadable"
OVER = ".over.json"
FOLD_FOR = timedelta(hours=24)
"""How long repeats are folded after a mail; after that the next one is news again."""
R = TypeVar("R", bound=Record)
_STAMP = "%Y%m%dT%H%M%S%f"


def fold(lake: Lake, now: datetime, confirm: Callable[[], None]) -> None:
    """Turn what arrived into letters that wait to be sent, and into counts.

    Each step leaves the files such that a process that takes over after a kill reaches the same end.

    Args:
        lake: Where they are.
        now: The present time, in UTC.
        confirm: Raises where another process may be folding by now.
    """
    for path in lake.list(CAUSES):
        if abs(now - _opened_at(path)) >= FOLD_FOR:  # or opened by a clock that was ahead
            confirm()
            _close(lake, path, now, None)
    kinds: list[tuple[str, type[Over] | type[Letter]]] = [
        (path, Over if path.endswith(OVER) else Letter) for path in lake.list(ARRIVED)
    ]
    arrived = [(path, read) for path, kind in kinds if (read := read_or_put_aside(lake, path, kind))]
    for is_over, group in itertools.groupby(arrived, key=lambda pair: isinstance(pair[1], Over)):
        entries = list(group)
        confirm()
        if is_over:
            _end(lake, [entry for _, entry in entries if isinstance(entry, Over)], now)
        else:
            _take(lake, [entry for _, entry in entries if isinstance(entry, Letter)])
        for path, _ in entries:
            lake.remove(path)


def read_or_put_aside(lake: Lake, path: str, kind: type[R]) -> R | None:
    """A document of the outbox; one that cannot be read is put aside, so that it stops nobody."""
    text = lake.read(path)
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        log.error("%s cannot be read and is put aside: %s", path, error)
        lake.create(f"{UNREADABLE}/{path.rpartition('/')[2]}", text)
        lake.remove(path)
        return None


def _take(lake: Lake, letters: Sequence[Letter]) -> None:
    """Let the first letter of each cause wait to be sent, and count the others."""
    for pipeline, group in _by_pipeline(letters):
        known = dict(_causes(lake, pipeline))
        present = {letter.letter_id for letter in group}
        changed: dict[str, Cause] = {}
        for letter in group:
            path, cause = _place(letter, {**known, **changed})
            counted = _counted(letter, cause)
            if counted is not cause:
                changed[path] = counted
        for path, cause in changed.items():
            first = next((letter for letter in group if letter.letter_id == cause.first), None)
            if first is not None:
                lake.create(f"{WAITING}/{first.letter_id}.json", to_json(first))
            still = tuple(letter_id for letter_id in cause.counted if letter_id in present)
            lake.replace(path, to_json(cause.model_copy(update={"counted": still})))


def _place(letter: Letter, causes: dict[str, Cause]) -> tuple[str, Cause | None]:
    """The cause that a letter is one more of, or where its own one will stand."""
    alert = letter.alert
    key = alert.key(letter.recipients)
    for path, cause in causes.items():
        if cause.news.key == key:
            return path, cause
    folder = f"{CAUSES}/{safe_run_id(alert.pipeline)}"
    return f"{folder}/{letter.posted_at.strftime(_STAMP)}-{key}.json", None


def _counted(letter: Letter, cause: Cause | None) -> Cause:
    """A cause with one letter more."""
    news = news_of(letter.alert, letter.recipients, letter.posted_at)
    if cause is None:
        return Cause(
            news=news.model_copy(update={"times": 0, "occurrences": ()}),
            first=letter.letter_id,
            opened_at=letter.posted_at,
            recipients=letter.recipients,
            quiet=letter.quiet,
        )
    if letter.letter_id == cause.first or letter.letter_id in cause.counted:
        return cause
    total = together(cause.news, news)
    if cause.news.times == 0:
        total = total.model_copy(update={"first_at": news.first_at})
    return cause.model_copy(
        update={"news": total, "counted": (*cause.counted, letter.letter_id), "quiet": letter.quiet}
    )


def _end(lake: Lake, ends: Sequence[Over], now: datetime) -> None:
    for end in ends:
        for path, cause in _causes(lake, end.pipeline):
            if cause.news.kind in end.kinds and cause.opened_at <= end.at:
                _close(lake, path, now, end.at)


def _close(lake: Lake, path: str, now: datetime, over_at: datetime | None) -> None:
    """End a cause; if it was trouble, and seen again after the mail, let a digest of that wait to be sent."""
    cause = read_or_put_aside(lake, path, Cause)
    if cause is None:
        return
    if cause.news.times and cause.news.level != "info":
        news = (cause.news.model_copy(update={"over_at": over_at}),)
        digest = Letter(
            letter_id=f"{cause.first}-again",
            posted_at=now,
            recipients=cause.recipients,
            alert=digest_alert(news),
            quiet=cause.quiet,
            news=news,
            answers=(cause.first,),
            not_before=quiet_until(cause.quiet, now),
        )
        lake.create(f"{WAITING}/{digest.letter_id}.json", to_json(digest))
    lake.remove(path)


def forget(lake: Lake, letter: Letter) -> None:
    """Drop the causes of a letter that nobody has got: the next one is news."""
    keys = {item.key for item in letter.about}
    for pipeline in {item.pipeline for item in letter.about}:
        for path, cause in _causes(lake, pipeline):
            if cause.news.key in keys and cause.opened_at <= letter.posted_at:
                lake.remove(path)


def _causes(lake: Lake, pipeline: str) -> Iterator[tuple[str, Cause]]:
    for path in list(lake.list(f"{CAUSES}/{safe_run_id(pipeline)}")):
        if cause := read_or_put_aside(lake, path, Cause):
            yield path, cause


def _by_pipeline(letters: Sequence[Letter]) -> Iterator[tuple[str, list[Letter]]]:
    def pipeline(letter: Letter) -> str:
        return letter.alert.pipeline

    for name, group in itertools.groupby(sorted(letters, key=pipeline), key=pipeline):
        yield name, list(group)


def _opened_at(path: str) -> datetime:
    stamp = path.rpartition("/")[2].partition("-")[0]
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:  # not one of ours; who reads it puts it aside
        return datetime.min.replace(tzinfo=UTC)
