"""What a day or a month will have cost when it is over, from what its days have cost so far.

Each day to come is expected to cost what its weekday has cost on average over the last four weeks; with less than two
weeks known, what all days have. The interval is that of the sum: the spread of the days, and how little of it is known.
"""

from __future__ import annotations

import calendar
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from statistics import NormalDist, fmean, variance

CONFIDENCE = 0.8
"""Of every interval: what it will be lies below `low` in one of ten cases, and above `high` in one of ten."""
_WINDOW_DAYS, _WEEKDAYS_FROM_DAYS = 28, 14


@dataclass(frozen=True)
class Forecast:
    """What a period will have cost.

    Attributes:
        total: Expected, with what is spent.
        low, high: Interval of 80 %; never below what is spent.
        days: Days that are over and that it rests on; 0 means that nothing is known but what is spent.
    """

    total: Decimal
    low: Decimal
    high: Decimal
    days: int


def forecast_month(daily: Mapping[date, Decimal], today: date, month: date | None = None) -> Forecast:
    """The calendar month of a day, by default of today.

    Args:
        daily: Day (UTC) -> cost. Days between the first of them and today that are not named cost nothing; that of
            today is what is spent so far. Those of earlier months help.
        today: The first day that is not over.
        month: Any day of the month that is meant.
    """
    first = (month or today).replace(day=1)
    return forecast(daily, today, first, first + timedelta(days=calendar.monthrange(first.year, first.month)[1]))


def forecast_day(daily: Mapping[date, Decimal], today: date) -> Forecast:
    """Today; arguments as those of `forecast_month`."""
    return forecast(daily, today, today, today + timedelta(days=1))


def forecast(daily: Mapping[date, Decimal], today: date, since: date, until: date) -> Forecast:
    """The days from `since` until before `until`; other arguments as those of `forecast_month`."""
    spent = sum((cost for day, cost in daily.items() if since <= day < until and day < today), Decimal())
    so_far = daily.get(today, Decimal()) if since <= today < until else Decimal()
    start = max(today, since)
    to_come = [start + timedelta(days=i) for i in range((until - start).days)]
    known = _known(daily, today)
    if not to_come or not known:
        total = spent + so_far
        return Forecast(total, total, total, len(known))
    expected, deviation = _expect(known, to_come)
    middle = max(spent + so_far, spent + _money(expected))
    margin = _money(deviation)
    return Forecast(middle, max(spent + so_far, middle - margin), middle + margin, len(known))


def quantile(degrees: int) -> float:
    """How many standard deviations an interval of `CONFIDENCE` reaches: Student's t, two terms of its expansion.

    Source: Abramowitz and Stegun, 26.7.5.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def _known(daily: Mapping[date, Decimal], today: date) -> list[tuple[date, float]]:
    """Days of the window that are over, from the first one that is known."""
    over = [day for day in daily if day < today]
    if not over:
        return []
    first = max(min(over), today - timedelta(days=_WINDOW_DAYS))
    days = (first + timedelta(days=i) for i in range((today - first).days))
    return [(day, float(daily.get(day, 0))) for day in days]


def _expect(known: Sequence[tuple[date, float]], to_come: Sequence[date]) -> tuple[float, float]:
    """Sum of the days to come, and how far it may be off either way."""
    by_weekday = len(known) >= _WEEKDAYS_FROM_DAYS
    groups: dict[int, list[float]] = {}
    for day, cost in known:
        groups.setdefault(day.weekday() if by_weekday else 0, []).append(cost)
    means = {key: fmean(costs) for key, costs in groups.items()}
    coming = Counter(day.weekday() if by_weekday else 0 for day in to_come)
    expected = sum(count * means[key] for key, count in coming.items())
    degrees = len(known) - len(groups)
    if degrees < 1:  # one day says nothing of how days differ; it may be off by itself
        return expected, expected
    spread = sum(variance(costs) * (len(costs) - 1) for costs in groups.values() if len(costs) > 1) / degrees
    of_means = sum(count**2 / len(groups[key]) for key, count in coming.items())
    return expected, quantile(degrees) * math.sqrt(spread * (len(to_come) + of_means))


def _money(value: float) -> Decimal:
    return Decimal(f"{value:.9f}")
