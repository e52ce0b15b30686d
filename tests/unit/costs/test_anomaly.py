"""Odd days: found among days that are odd themselves, and not made of cents."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from noria.costs.anomaly import find_anomaly

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
