"""Which days are asked for, and when; the service itself is tried on the twin."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from noria.costs.cost_management.missing import needed, settled, spans


def at(month: int, day: int, hour: int = 3) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "since"),
    [
        (at(10, 22), at(10, 22, 0)),  # a day after its end
        (at(10, 31), at(10, 22, 0)),
        (at(11, 1), at(11, 1, 0)),  # then anew each day while the month is closed
        (at(11, 4), at(11, 4, 0)),
        (at(11, 5), at(11, 5, 0)),
        (at(11, 6), at(11, 5, 0)),  # and once more, if nobody asked on the fifth
        (at(12, 31), at(11, 5, 0)),
    ],
)
def test_since_when_a_delivery_has_the_last_word(now: datetime, since: datetime) -> None:
    assert needed(date(2026, 10, 20), now) == since


def test_the_last_day_of_a_month_settles_in_the_next() -> None:
    last = date(2026, 10, 31)
    assert settled([last], at(11, 1)) == [] and settled([last], at(11, 2)) == [last]
    assert needed(last, at(11, 2)) == at(11, 2, 0)
    assert settled([date(2026, 1, 2), date(2026, 1, 1), date(2026, 1, 1)], at(2, 1)) == [
        date(2026, 1, 1),
        date(2026, 1, 2),
    ]


def test_a_run_takes_a_month_at_most_and_the_newest_month_comes_first() -> None:
    days = [date(2026, 10, 30) + timedelta(days=number) for number in (0, 1, 2, 5, 40)]
    assert spans(days) == [
        (date(2026, 12, 9), date(2026, 12, 9)),
        (date(2026, 11, 1), date(2026, 11, 4)),
        (date(2026, 10, 30), date(2026, 10, 31)),
    ]
    assert spans([]) == []
