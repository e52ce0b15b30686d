"""Quiet hours: when they end, by the clocks of their time zone."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from noria.pipeline.alerts import QuietHours


def quiet_until(quiet: QuietHours | None, at: datetime) -> datetime | None:
    """When the quiet hours that hold at a moment end, in UTC; none where it is not quiet.

    On the days when clocks change, quiet hours end at the later of two times that could be meant.
    """
    if quiet is None:
        return None
    zone = ZoneInfo(quiet.timezone)
    local = at.astimezone(zone)
    start, end, clock = time.fromisoformat(quiet.start), time.fromisoformat(quiet.end), local.time()
    over_midnight = end < start
    held = (clock >= start or clock < end) if over_midnight else start <= clock < end
    if not held:
        return None
    day = local.date() + timedelta(days=1 if over_midnight and clock >= start else 0)
    return max(datetime.combine(day, end.replace(fold=fold), zone).astimezone(UTC) for fold in (0, 1))
