"""A day that cost far more or less than days like it: against the median, which odd days before it cannot move.

Days like it are the same weekdays of the last eight weeks, where at least four are known; else the last four weeks,
where at least seven days are. What is odd is measured by the median absolute deviation, which is 0 where days are all
alike; so it takes half of the usual cost as well, and a whole unit of the currency: cents are no anomaly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from statistics import median

_WEEKS, _LEAST_WEEKS = 8, 4
_DAYS, _LEAST_DAYS = 28, 7
REACH_DAYS = 7 * _WEEKS
"""How many days before it may say what is usual for a day."""
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


def find_anomaly(daily: Mapping[date, Decimal], day: date) -> Anomaly | None:
    """Whether a day is far out.

    Args:
        daily: Day (UTC) -> cost; days between the first of them and `day` that are not named cost nothing.
        day: A day that is over.

    Returns:
        What is odd; none where it is as usual, or where too few days are known to say so.
    """
    first = min(daily, default=day)
    weeks = [day - timedelta(weeks=i) for i in range(1, _WEEKS + 1)]
    days = [day - timedelta(days=i) for i in range(1, _DAYS + 1)]
    for like, least, words in ((weeks, _LEAST_WEEKS, f"{day:%A}s"), (days, _LEAST_DAYS, "days")):
        known = tuple(other for other in like if other >= first)
        if len(known) >= least:
            costs = [daily.get(other, Decimal()) for other in known]
            usual = median(costs)
            spread = median(abs(cost - usual) for cost in costs)
            cost = daily.get(day, Decimal())
            is_odd = abs(cost - usual) > max(_DEVIATIONS * spread, _SHARE * usual, _FLOOR)
            return Anomaly(day, cost, usual, known, f"the last {len(known)} {words}") if is_odd else None
    return None
