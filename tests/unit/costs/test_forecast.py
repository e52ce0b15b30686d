"""Forecasts, and how often what comes lies within their interval."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from statistics import fmean

import pytest

from noria.costs.forecast import forecast_day, forecast_month

FIRST = date(2026, 2, 1)


def series(costs: list[float], since: date = FIRST) -> dict[date, Decimal]:
    return {since + timedelta(days=i): Decimal(str(cost)) for i, cost in enumerate(costs)}


def test_weekends_are_expected_to_be_as_weekends_were() -> None:
    """Two euros on working days and none at weekends; the rest of March has 8 working days from the 20th on."""
    daily = series([0 if (FIRST + timedelta(days=i)).weekday() > 4 else 2 for i in range(47)])
    found = forecast_month(daily, date(2026, 3, 20))
    assert found.total == found.low == found.high == 22 * 2 and found.days == 28
    assert forecast_day(daily, date(2026, 3, 21)).total == 0
    assert forecast_day(daily, date(2026, 3, 23)).total == 2


def test_few_days_have_one_mean_and_the_month_that_is_meant_is_forecast() -> None:
    daily = series([1, 3], date(2026, 2, 26))
    assert forecast_month(daily, date(2026, 2, 28)).total == 6
    assert forecast_month(daily, date(2026, 3, 1), month=date(2026, 2, 28)).total == 4, "it is over: what was spent"
    assert forecast_month(daily, date(2026, 3, 1)).total == pytest.approx(Decimal(31 * 4 / 3), abs=Decimal("1e-8"))


def test_what_is_spent_is_the_least() -> None:
    found = forecast_day({**series([1, 1, 1], date(2026, 3, 1)), date(2026, 3, 4): Decimal(7)}, date(2026, 3, 4))
    assert (found.total, found.low) == (7, 7)
    one = forecast_month(series([2], date(2026, 3, 30)), date(2026, 3, 31))
    assert (one.total, one.low, one.high) == (4, 2, 6), "one day says nothing of how days differ"
    none = forecast_month({}, date(2026, 3, 31))
    assert (none.total, none.high, none.days) == (0, 0, 0)


@pytest.mark.parametrize("known", [5, 26])
@pytest.mark.parametrize(
    "cost", [lambda r: r.gauss(10, 2), lambda r: r.expovariate(0.1), lambda r: r.lognormvariate(2, 0.5)]
)
def test_the_interval_holds_what_it_says(known: int, cost: Callable[[random.Random], float]) -> None:
    """In 8 of 10 cases; skewed costs come a little less often."""
    rng = random.Random(1)
    inside = []
    for _ in range(200):
        days = series([round(cost(rng), 4) for _ in range(known + 10)], date(2026, 4, 21) - timedelta(days=known))
        found = forecast_month({day: c for day, c in days.items() if day < date(2026, 4, 21)}, date(2026, 4, 21))
        inside.append(found.low <= sum(c for day, c in days.items() if day.month == 4) <= found.high)
    assert 0.72 < fmean(inside) < 0.9
