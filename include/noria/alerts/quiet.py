"""Quiet hours: when they end, by the clocks of their time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from noria.pipeline.alerts import QuietHours


def quiet_until(quiet: QuietHours | None, at: datetime) -> datetime | None:
    """When the quiet hours that hold at a moment end, in UTC; none where it is not quiet.

    On the days when clocks change, they last from the earlier to the later of two times that could be meant.
    """
    if quiet is None:
        return None
    zone = ZoneInfo(quiet.timezone)
    start, end = time.fromisoformat(quiet.start), time.fromisoformat(quiet.end)
    today = at.astimezone(zone).date()
    for first in (today - timedelta(days=1), today):
        last = first + timedelta(days=1 if end < start else 0)
        until = max(_both(last, end, zone))
        if min(_both(first, start, zone)) <= at < until:
            return until
    return None


def _both(day: date, clock: time, zone: ZoneInfo) -> list[datetime]:
    """The two times at which clocks may show this; nearly always they are one."""
    return [datetime.combine(day, clock.replace(fold=fold), zone).astimezone(UTC) for fold in (0, 1)]
