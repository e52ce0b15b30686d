"""Odd days: found among days that are odd themselves, and not made of cents."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from noria.costs.anomaly import find_anomaly, is_news

DAY = date(2026, 3, 20)  # a Friday


def before(costs: list[float], today: float) -> dict[date, Decimal]:
    """Costs of the days before, the nearest last, and of the day."""
    daily = {DAY - timedelta(days=len(costs) - i): Decimal(str(cost)) for i, cost in enumerate(costs)}
    return {**daily, DAY: Decimal(str(today))}


@pytest.mark.parametrize(
    ("costs", "today", "odd"),
    [
        ([10, 11, 9, 10, 12, 10, 9], 30, True),
        ([10, 11, 9, 10, 12, 10, 9], 14, False),
        ([10, 11, 9, 10, 900, 10, 9], 30, True),  # an odd day before does not hide this one
        ([10, 11, 9, 10, 900, 10, 9], 0, True),  # nothing where there is always something
        ([0.1] * 7, 0.9, False),  # cents
        ([10] * 7, 14.9, False),  # days that are all alike do not make a small change odd
        ([10, 11, 9, 10, 12, 10], 1000, False),  # too few days to say
    ],
)
def test_odd_days(costs: list[float], today: float, odd: bool) -> None:
    assert (find_anomaly(before(costs, today), DAY) is not None) == odd


def test_a_weekday_is_compared_with_its_own_kind() -> None:
    """Fifty on each Friday are as usual there, and odd on a Thursday."""
    weeks = [50 if (DAY - timedelta(days=56 - i)).weekday() == 4 else 1 for i in range(56)]
    daily = before(weeks, 50)
    assert find_anomaly(daily, DAY) is None
    thursday = DAY - timedelta(days=1)
    found = find_anomaly({**daily, thursday: Decimal(50)}, thursday)
    assert found is not None
    assert (found.usual, found.excess, found.likeness) == (1, 49, "the last 7 Thursdays")


def told(daily: dict[date, Decimal], ran: set[date], since: int, until: int) -> list[int]:
    """The days, as told by each night, when a mail goes out."""
    found = []
    for number in range(since, until):
        night = DAY + timedelta(days=number)
        known = {day: cost for day, cost in daily.items() if night - timedelta(days=57) <= day <= night}
        odd = find_anomaly(known, night, ran)
        if odd and is_news(known, odd, ran):
            found.append(number)
    return found


def world(cost: dict[int, float], days: int) -> tuple[dict[date, Decimal], set[date]]:
    """Costs of days on which jobs ran, by number; on every day a cent for storage as well."""
    daily = {DAY + timedelta(days=n): Decimal(str(cost.get(n, 0))) + Decimal("0.01") for n in range(days)}
    return daily, {DAY + timedelta(days=n) for n in cost}


@pytest.mark.parametrize("every", [2, 7, 30])
def test_what_runs_now_and_then_is_never_odd(every: int) -> None:
    daily, ran = world(dict.fromkeys(range(0, 120, every), 5), 120)
    assert told(daily, ran, 0, 120) == []
    seldom = {DAY + timedelta(days=n): Decimal(5) for n in range(0, 120, every)}
    assert told(seldom, set(seldom), 0, 120) == [], "days that are not named cost nothing"


@pytest.mark.parametrize("weekend", [False, True])
def test_a_pipeline_that_is_paused_is_told_of_once(weekend: bool) -> None:
    runs = {n: 10.0 for n in range(60) if weekend or (DAY + timedelta(days=n)).weekday() < 5}
    paused = {n: cost for n, cost in runs.items() if n < 33}
    assert told(*world(paused, 90), 0, 90) == [33], "a Wednesday"
    assert told(*world(paused | {n: runs[n] for n in range(39, 45) if n in runs}, 90), 0, 90) == [33, 45]
    cheaper = {n: cost if n < 33 else 3.0 for n, cost in runs.items()}
    assert told(*world(cheaper, 60), 0, 60)[:1] == [33] and len(told(*world(cheaper, 60), 0, 60)) <= 2


def test_a_weekly_run_that_is_dear_is_odd() -> None:
    daily, ran = world(dict.fromkeys(range(0, 36, 7), 5) | {35: 20}, 36)
    assert told(daily, ran, 0, 36) == [35]
