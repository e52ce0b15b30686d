"""A day that cost far more or less than days like it: against the median, which odd days before it cannot move.

Days like it are the same weekdays of the last eight weeks; else, where less than four of them count, the last four
weeks, if these are a week at least. A day on which jobs ran is compared with such days alone: so what runs once a week
or a month is not odd each time. A day without is odd only where jobs ran on three of four such weekdays, or on all the
days. What is odd is measured by the median absolute deviation, which is 0 where days are all alike; so it takes half of
the usual cost as well, and a whole unit of the currency: cents are no anomaly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from statistics import median

_WEEKS, _DAYS = 8, 28
_LEAST, _LEAST_DAYS = 4, 7
REACH_DAYS = 7 * _WEEKS
"""How many days before it may say what is usual for a day."""
_BUSY_WEEKS, _BUSY_DAYS = 0.75, 1.0
"""Share of days like it on which jobs ran, where one without is odd."""
_DEVIATIONS = Decimal("7.413")
"""Five standard deviations: of normal ones the median absolute deviation is 1 / 1.4826."""
_SHARE, _FLOOR = Decimal("0.5"), Decimal(1)


@dataclass(frozen=True)
class Anomaly:
    """A day that is far out.

    Attributes:
        day: It (UTC).
        cost: What it cost.
        usual: The median of days like it.
        like: They.
        likeness: What they are, in words.
    """

    day: date
    cost: Decimal
    usual: Decimal
    like: tuple[date, ...]
    likeness: str

    @property
    def excess(self) -> Decimal:
        """How much more than usual; negative where it is less."""
        return self.cost - self.usual


def find_anomaly(daily: Mapping[date, Decimal], day: date, ran: Collection[date] | None = None) -> Anomaly | None:
    """Whether a day is far out.

    Args:
        daily: Day (UTC) -> cost; days between the first of them and `day` that are not named cost nothing.
        day: A day that is over.
        ran: Days on which jobs ran; by default those that cost anything.

    Returns:
        What is odd; none where it is as usual, or where too few days are known to say so.
    """
    ran = {other for other, cost in daily.items() if cost} if ran is None else ran
    first = min(daily, default=day)
    weeks = [day - timedelta(weeks=i) for i in range(1, _WEEKS + 1)]
    days = [day - timedelta(days=i) for i in range(1, _DAYS + 1)]
    for like, least, busy, words in (
        (weeks, _LEAST, _BUSY_WEEKS, f"{day:%A}s"),
        (days, _LEAST_DAYS, _BUSY_DAYS, "days"),
    ):
        known = tuple(other for other in like if other >= first)
        with_jobs = tuple(other for other in known if other in ran)
        counted = with_jobs if day in ran else known if len(with_jobs) >= busy * len(known) else ()
        if len(known) >= least and len(counted) >= _LEAST:
            which = f"{words} with jobs" if len(counted) < len(known) else words
            return _compared(daily, day, counted, f"the last {len(counted)} {which}")
    return None


def is_news(daily: Mapping[date, Decimal], odd: Anomaly, ran: Collection[date]) -> bool:
    """Whether an odd day was not told of as part of what came before: days that cost less are told of until it changes.

    Args:
        daily: As for `find_anomaly`.
        odd: What was found.
        ran: Days on which jobs ran.
    """
    if odd.excess >= 0:
        return True
    for number in range(1, _DAYS + 1):
        before = odd.day - timedelta(days=number)
        found = find_anomaly(daily, before, ran)
        if found is not None and found.excess < 0:
            return False
        if before in ran:
            return True
    return True


def _compared(daily: Mapping[date, Decimal], day: date, like: tuple[date, ...], likeness: str) -> Anomaly | None:
    costs = [daily.get(other, Decimal()) for other in like]
    usual = median(costs)
    spread = median(abs(cost - usual) for cost in costs)
    cost = daily.get(day, Decimal())
    is_odd = abs(cost - usual) > max(_DEVIATIONS * spread, _SHARE * usual, _FLOOR)
    return Anomaly(day, cost, usual, like, likeness) if is_odd else None
