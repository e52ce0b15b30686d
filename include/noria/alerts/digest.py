"""What a digest says: what happened more than once, or while it was quiet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from noria.alerts.alert import Alert
from noria.alerts.letters import News
from noria.pipeline.alerts import SEVERITIES

NAMED_PIPELINES = 3
"""More are counted, as the subject has to say what happened."""


def digest_alert(news: Sequence[News]) -> Alert:
    """One mail for what several would have told, the worst first."""
    ranked = sorted(news, key=lambda item: (item.over_at is not None, -SEVERITIES.index(item.level), item.last_at))
    still = [item.level for item in news if item.over_at is None]
    return Alert(
        _pipelines(ranked),
        _headline(ranked),
        kind="digest",
        severity=max(still, key=SEVERITIES.index, default="info"),
        good=not still,
        sections=[(f"{item.pipeline}: {item.happened}", _lines(item)) for item in ranked],
        links=_links(ranked),
    )


def _links(news: Sequence[News]) -> list[tuple[str, str]]:
    """Where each led to, and its runs; what several lead to is said once."""
    labels = {url: f"{item.pipeline}, {label}" for item in reversed(news) for label, url in item.links}
    runs = [(f"{item.pipeline}, {_time(seen.at)}", seen.url) for item in news for seen in item.occurrences if seen.url]
    return [*((label, url) for url, label in reversed(labels.items())), *runs]


def _pipelines(news: Sequence[News]) -> str:
    names = list(dict.fromkeys(item.pipeline for item in news))
    return ", ".join(names) if len(names) <= NAMED_PIPELINES else f"{len(names)} pipelines"


def _headline(news: Sequence[News]) -> str:
    if len(news) > 1:
        return f"digest of {len(news)} causes, {_often(sum(item.times for item in news))}: {news[0].happened}"
    (item,) = news
    state = "over now, " if item.over_at else ""
    return f"{state}seen {_often(item.times)} more: {item.happened}"


def _lines(item: News) -> list[str]:
    seen = f"{_time(item.first_at)} UTC"
    if item.times > 1:
        seen = f"{_often(item.times)}, first {seen}, last {_time(item.last_at)} UTC"
    over = [f"Over since {_time(item.over_at)} UTC."] if item.over_at else []
    return [f"{item.kind}, {item.level}: {seen}", *over, *item.details]


def _often(times: int) -> str:
    return "once" if times == 1 else f"{times} times"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
