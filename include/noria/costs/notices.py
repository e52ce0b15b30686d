"""What a night tells of budgets, of odd days, and of charges that are held against neither: each thing once.

A bound is told of at 50, 80 and 100 %, of what is spent and of what is forecast. That it was told stands as a file in
the lake, written after the mail is in the outbox: who is killed in between tells it again, and the outbox folds it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from noria.costs import focus
from noria.costs.anomaly import REACH_DAYS, Anomaly, find_anomaly, is_news
from noria.costs.charged import daily_charged, metered_beside
from noria.costs.forecast import Forecast, forecast_day, forecast_month
from noria.costs.money import money
from noria.costs.recent import rows_until_now, today
from noria.costs.sheet import PriceSheet, TotalBudget
from noria.costs.sums import COST, CURRENCY, daily_costs, totals, with_currency
from noria.costs.table import METERING, open_costs
from noria.pipeline import Budget, Pipeline
from noria.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

PERCENTS = (100, 80, 50)
_TOLD = "budgets"
_EVERYTHING = "_total"
"""No pipeline is called so."""
_COLUMNS = (focus.PIPELINE, focus.STAGE, "ServiceName", focus.DAY, focus.ORIGIN, CURRENCY, COST)
CURRENCY_COLUMNS = (focus.DAY, focus.ORIGIN, CURRENCY, COST)
"""What `other_currencies` reads."""
_MOST_PARTS = 3
_LEAST_DAYS = 7
Daily = Mapping[date, Decimal]
BoundKey = Literal["per_day", "per_month"]


@dataclass(frozen=True)
class BudgetNotice:
    """A bound of which so much is spent, or will be.

    Attributes:
        pipeline: Whose bound it is; none is that of everything together.
        key: Which bound.
        period: The day (`2026-11-20`) or month (`2026-11`), in UTC.
        kind: Whether it is spent, or forecast.
        percent: 50, 80 or 100.
        limit: The bound.
        spent: In the period so far.
        forecast: Of the whole period.
        currency: Of all amounts.
    """

    pipeline: str | None
    key: BoundKey
    period: str
    kind: Literal["spent", "forecast"]
    percent: int
    limit: Decimal
    spent: Decimal
    forecast: Forecast
    currency: str

    @property
    def paths(self) -> tuple[str, ...]:
        """What stands in the lake once it was told; with it, all that is less."""
        start = f"{_TOLD}/{self.period}/{self.pipeline or _EVERYTHING}-{self.key}-{self.limit:f}"
        return tuple(f"{start}-{percent}-{self.kind}.json" for percent in PERCENTS if percent <= self.percent)


@dataclass(frozen=True)
class Part:
    """A part of an odd day: what it cost, and what it usually does."""

    name: str
    cost: Decimal
    usual: Decimal


@dataclass(frozen=True)
class AnomalyNotice:
    """An odd day.

    Attributes:
        pipeline: Whose day it is; none is everything together.
        anomaly: What is odd.
        parts: What it comes from, the largest change first: stages or services of a pipeline, pipelines of everything.
        currency: Of all amounts.
    """

    pipeline: str | None
    anomaly: Anomaly
    parts: tuple[Part, ...]
    currency: str

    @property
    def paths(self) -> tuple[str, ...]:
        """What stands in the lake once it was told."""
        return (f"{_TOLD}/{self.anomaly.day}/{self.pipeline or _EVERYTHING}-anomaly.json",)


@dataclass(frozen=True)
class CurrencyNotice:
    """Costs in another currency than the price sheet's, in which all bounds are.

    Attributes:
        currency: Theirs.
        amount: All of them together.
        first: Their first day.
        is_estimate: They are estimates, made when the sheet was in that currency; else they are invoiced.
        bounds: The sheet's currency.
    """

    currency: str
    amount: Decimal
    first: date
    is_estimate: bool
    bounds: str

    @property
    def words(self) -> str:
        """What they are, and what to do."""
        what = f"{money(self.amount, self.currency)} since {self.first}"
        if self.is_estimate:
            remedy = f"run export_costs with --since {self.first} to price these days anew"
            return f"Estimates of {what} are not in the price sheet's currency, {self.bounds}: {remedy}."
        remedy = "a price sheet in their currency has them counted"
        return f"Charges of {what} are held against no budget and no usual day, all in {self.bounds}: {remedy}."

    @property
    def paths(self) -> tuple[str, ...]:
        """What stands in the lake once it was told; once a month."""
        kind = "estimates" if self.is_estimate else "charges"
        name = re.sub("[^A-Za-z]", "", self.currency)  # an invoice may say anything
        return (f"{_TOLD}/{self.first:%Y-%m}/{_EVERYTHING}-{kind}-{name}-{self.bounds}.json",)


Notice = BudgetNotice | AnomalyNotice | CurrencyNotice


def notices(workspace: Workspace, pipelines: Sequence[Pipeline], sheet: PriceSheet) -> list[Notice]:
    """All that there is to tell of today and yesterday, whether or not it was told.

    Of amounts in another currency than the sheet's only that they are there: no bound is in it.

    Raises:
        StorageError: What was spent cannot be read.
    """
    now = today(workspace)
    since = now - timedelta(days=REACH_DAYS + 1)
    rows = rows_until_now(open_costs(workspace), workspace, sheet, since, _COLUMNS)
    beside = metered_beside(workspace, sheet, since, now)
    every = totals(with_currency(rows), _COLUMNS[:-1])
    lines = [line for line in every if line[CURRENCY] == sheet.currency]
    found: list[Notice] = []
    bounded: list[tuple[str | None, Budget | TotalBudget]] = [(p.name, p.budget) for p in pipelines]
    for name, budget in [*bounded, (None, sheet.total)]:
        daily = daily_charged(lines, beside, name)
        found += _of_budget(name, budget, daily, now, sheet.currency)
    yesterday = now - timedelta(days=1)
    found += _anomalies([p.name for p in pipelines], lines, yesterday, sheet.currency)
    return [*found, *_other_currencies(every, yesterday.replace(day=1), sheet.currency)]


def other_currencies(rows: pa.Table, since: date, sheet: PriceSheet) -> list[CurrencyNotice]:
    """Costs from a day on that are not in the price sheet's currency, by currency; estimates by themselves.

    Args:
        rows: Of a table of costs, with the columns for day, origin, currency and EffectiveCost.
        since: The day (UTC).
        sheet: The price sheet.
    """
    return _other_currencies(totals(with_currency(rows), CURRENCY_COLUMNS[:-1]), since, sheet.currency)


def tell(found: Sequence[Notice], workspace: Workspace, say: Callable[[Notice], bool]) -> list[Notice]:
    """Say what was not said before; two that are at it at once say it once.

    Args:
        found: What there is to tell.
        workspace: Whose lake keeps what was told.
        say: Tells it; whether anybody wanted to hear. What nobody did was not told.

    Returns:
        What was said.
    """
    due = [notice for notice in found if not workspace.lake.exists(notice.paths[0])]
    said: list[Notice] = []
    if not due:
        return said
    with workspace.lake.lock(_TOLD) as confirm:
        for notice in due:
            if workspace.lake.exists(notice.paths[0]):
                continue
            confirm()
            if not say(notice):
                continue
            said.append(notice)
            for path in notice.paths:
                workspace.lake.create(path, b"{}\n")
    return said


def _other_currencies(lines: Sequence[Mapping[str, Any]], since: date, bounds: str) -> list[CurrencyNotice]:
    groups: dict[tuple[bool, str], list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        if line[CURRENCY] != bounds and line["cost"] and line[focus.DAY] >= since.isoformat():
            groups[line[focus.ORIGIN] == METERING, line[CURRENCY]].append(line)
    found = []
    for (is_estimate, currency), own in sorted(groups.items()):
        daily = daily_costs(own)
        found.append(CurrencyNotice(currency, sum(daily.values(), Decimal()), min(daily), is_estimate, bounds))
    return found


def _of_budget(
    name: str | None, budget: Budget | TotalBudget, daily: Daily, now: date, currency: str
) -> Iterator[BudgetNotice]:
    yesterday = now - timedelta(days=1)
    if budget.per_day is not None:
        for day in (yesterday, now):
            so_far = daily.get(day, Decimal())
            whole = Forecast(so_far, so_far, so_far, 0) if day < now else forecast_day(daily, now)
            bound = _Bound(name, "per_day", f"{day}", Decimal(str(budget.per_day)), currency)
            yield from bound.reached(so_far, whole)
    if budget.per_month is not None:
        for first in sorted({day.replace(day=1) for day in (yesterday, now)}):
            spent = sum((cost for day, cost in daily.items() if day.replace(day=1) == first), Decimal())
            bound = _Bound(name, "per_month", f"{first:%Y-%m}", Decimal(str(budget.per_month)), currency)
            yield from bound.reached(spent, forecast_month(daily, now, month=first))


@dataclass(frozen=True)
class _Bound:
    """Fields as those of BudgetNotice."""

    pipeline: str | None
    key: BoundKey
    period: str
    limit: Decimal
    currency: str

    def reached(self, spent: Decimal, whole: Forecast) -> Iterator[BudgetNotice]:
        """The highest mark that is passed by what is spent, and a higher one by the forecast.

        A forecast from less than a week is told of where the lower end of its interval passes the mark.
        """
        foreseen = whole.total if whole.days >= _LEAST_DAYS else whole.low
        by_now, in_the_end = _mark(spent, self.limit), _mark(foreseen, self.limit)
        marks: list[tuple[Literal["spent", "forecast"], int]] = [("spent", by_now)] if by_now else []
        marks += [("forecast", in_the_end)] if in_the_end > by_now else []
        for kind, percent in marks:
            yield BudgetNotice(
                pipeline=self.pipeline,
                key=self.key,
                period=self.period,
                kind=kind,
                percent=percent,
                limit=self.limit,
                spent=spent,
                forecast=whole,
                currency=self.currency,
            )


def _mark(amount: Decimal, limit: Decimal) -> int:
    return next((percent for percent in PERCENTS if amount * 100 >= limit * percent), 0)


def _anomalies(
    names: Sequence[str], lines: Sequence[Mapping[str, Any]], day: date, currency: str
) -> list[AnomalyNotice]:
    """Odd days of pipelines; that of everything together only where no pipeline explains it."""
    found, explained = [], False
    for name in names:
        own = [line for line in lines if line[focus.PIPELINE] == name]
        odd, is_new = _odd(own, day)
        explained = explained or odd is not None
        if odd and is_new:
            parts = _parts(own, lambda line: line[focus.STAGE] or line["ServiceName"], odd)
            found.append(AnomalyNotice(name, odd, parts, currency))
    odd, is_new = _odd(lines, day)
    if odd and is_new and not explained:
        found.append(AnomalyNotice(None, odd, _parts(lines, lambda line: line[focus.PIPELINE], odd), currency))
    return found


def _odd(lines: Sequence[Mapping[str, Any]], day: date) -> tuple[Anomaly | None, bool]:
    """What is odd of a day, and whether that is news. Files cost something on days without jobs, too."""
    daily = daily_costs(lines)
    ran = {date.fromisoformat(line[focus.DAY]) for line in lines if line[focus.STAGE]}
    ran = ran or {other for other, cost in daily.items() if cost}  # an invoice need not tell stages
    odd = find_anomaly(daily, day, ran)
    return odd, odd is not None and is_news(daily, odd, ran)


def _parts(
    lines: Sequence[Mapping[str, Any]], name_of: Callable[[Mapping[str, Any]], str | None], odd: Anomaly
) -> tuple[Part, ...]:
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        groups[name_of(line) or "without a tag"].append(line)
    parts = []
    for name, group in groups.items():
        daily = daily_costs(group)
        usual = sum((daily.get(day, Decimal()) for day in odd.like), Decimal()) / len(odd.like)
        parts.append(Part(name, daily.get(odd.day, Decimal()), usual))
    return tuple(sorted(parts, key=lambda part: -abs(part.cost - part.usual))[:_MOST_PARTS])
