"""Quiet hours by the clocks of a place, also on the days when these change."""

from datetime import UTC, datetime, timedelta

import pytest

from noria.alerts.quiet import quiet_until
from noria.pipeline.alerts import QuietHours

VIENNA = "Europe/Vienna"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "zone", "moment", "end"),
    [
        (("22:00", "07:00"), "UTC", "2026-01-10T21:59", None),
        (("22:00", "07:00"), "UTC", "2026-01-10T22:00", "2026-01-11T07:00"),
        (("22:00", "07:00"), "UTC", "2026-01-11T06:59:59", "2026-01-11T07:00"),
        (("22:00", "07:00"), "UTC", "2026-01-11T07:00", None),
        (("12:00", "13:00"), "UTC", "2026-01-10T12:30", "2026-01-10T13:00"),
        (("22:00", "07:00"), VIENNA, "2026-01-10T21:00", "2026-01-11T06:00"),  # winter: UTC+1
        (("22:00", "07:00"), VIENNA, "2026-07-10T20:00", "2026-07-11T05:00"),  # summer: UTC+2
        (("22:00", "07:00"), VIENNA, "2026-03-28T21:30", "2026-03-29T05:00"),  # a night of one hour less
        (("22:00", "07:00"), VIENNA, "2026-10-24T20:30", "2026-10-25T06:00"),  # and of one more
        (("22:00", "02:30"), VIENNA, "2026-03-28T22:00", "2026-03-29T01:30"),  # 2:30 is left out
        (("22:00", "02:30"), VIENNA, "2026-10-24T23:00", "2026-10-25T01:30"),  # 2:30 comes twice
        (("22:00", "02:45"), VIENNA, "2026-10-25T00:20", "2026-10-25T01:45"),  # the first 2:20
        (("22:00", "02:45"), VIENNA, "2026-10-25T00:50", "2026-10-25T01:45"),  # the first 2:50
        (("22:00", "02:45"), VIENNA, "2026-10-25T01:45", None),  # the second 2:45
        (("02:30", "04:00"), VIENNA, "2026-03-29T01:00", "2026-03-29T02:00"),  # 3:00, as 2:30 is left out
        (("22:00", "07:00"), "Asia/Kathmandu", "2026-01-10T16:15", "2026-01-11T01:15"),  # UTC+5:45
    ],
)
def test_when_they_end(hours: tuple[str, str], zone: str, moment: str, end: str | None) -> None:
    quiet = QuietHours(start=hours[0], end=hours[1], timezone=zone)
    assert quiet_until(quiet, at(moment)) == (at(end) if end else None)


@pytest.mark.parametrize("end", ["02:00", "02:30", "03:00"])
def test_the_end_is_never_past_on_the_days_when_clocks_change(end: str) -> None:
    quiet = QuietHours(start="22:00", end=end, timezone=VIENNA)
    for evening in ("2026-03-28T20:00", "2026-10-24T20:00"):
        for minute in range(0, 9 * 60, 5):
            moment = at(evening) + timedelta(minutes=minute)
            until = quiet_until(quiet, moment)
            assert until is None or until > moment
            assert until is None or quiet_until(quiet, until) is None


def test_hours_that_end_as_they_begin_are_refused() -> None:
    with pytest.raises(ValueError, match="start and end are both 12:00"):
        QuietHours(start="12:00", end="12:00")


def test_without_them_it_is_never_quiet() -> None:
    assert quiet_until(None, at("2026-01-10T03:00")) is None
