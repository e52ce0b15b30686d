"""All figures of one night, for each currency by itself: what the page, the mail and the terminal tell.

Costs of days with an invoice are the invoice's, those of other days are estimates; every sum says how much of it is
estimate.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from noria.costs import focus
from noria.costs.anomaly import REACH_DAYS
from noria.costs.charged import daily_charged, metered_beside
from noria.costs.efficiency import Efficiency, efficiencies, facts
from noria.costs.forecast import Forecast, forecast_month
from noria.costs.metering import FINDING_COLUMNS, findings
from noria.costs.notices import other_currencies
from noria.costs.recommendations import Recommendation, recommend
from noria.costs.reconcile import COLUMNS, Reconciliation, reconcile
from noria.costs.runs import RunCost, run_costs, stage_uses
from noria.costs.sheet import PriceSheet, load_sheet
from noria.costs.sums import (
    COST,
    CURRENCY,
    ZERO,
    currencies,
    days_from,
    estimates,
    total,
    totals,
    where,
    with_currency,
)
from noria.costs.table import METERING, open_costs, open_metered
from noria.errors import NoriaError
from noria.pipeline import find_pipelines, load_pipeline
from noria.records import Record
from noria.workspace import Workspace, run_path

if TYPE_CHECKING:
    import pyarrow as pa

DAYS = 31
"""How far back the chart, the reconciliation, efficiency and recommendations look; the month so far is always in it."""
_FORECAST_COLUMNS = (focus.PIPELINE, focus.DAY, CURRENCY, COST)
_DEAREST = 5
_RUN_COLUMNS = (focus.OUTCOME, focus.VCPU_SECONDS, focus.CPU_SECONDS)
BREAKDOWNS = {
    "pipeline": focus.PIPELINE,
    "stage": focus.STAGE,
    "service": "ServiceName",
    "machine": focus.MACHINE,
    "day": focus.DAY,
    "run": focus.RUN,
}
"""What costs can be broken down by -> the column of the table."""


class Line(Record):
    """One line of a breakdown."""

    name: str | None
    """None: what bears no such tag."""
    day: Decimal
    """Of the report's day."""
    month: Decimal
    """From the first of the month to the report's day."""
    estimate: Decimal
    """How much of `month` is not invoiced yet."""


class DayCost(Record):
    """One day of the chart."""

    day: date
    total: Decimal
    estimate: Decimal
    """How much of it is not invoiced yet."""
    by_pipeline: dict[str, Decimal]
    """What bears no tag is under an empty name."""


class DearRun(Record):
    """A run among the dearest of the month."""

    pipeline: str
    run_id: str
    cost: Decimal
    is_estimate: bool
    outcome: str | None
    """What its metering says: done, failed or killed."""
    vcpu_seconds: float | None
    cpu_seconds: float | None
    """What was used of `told_vcpu_seconds`."""
    by_stage: dict[str, Decimal]
    airflow_url: str | None
    report: str | None
    """Lake path of its page, if it has one."""
    told_vcpu_seconds: float | None = None
    """Of jobs that tell what they used; Spark's platform does not."""


class BudgetUse(Record):
    """A bound, and how much of it is used."""

    pipeline: str | None
    """None: everything together."""
    period: Literal["day", "month"]
    limit: Decimal
    spent: Decimal
    forecast: Decimal | None = None
    """Of the whole month."""

    @property
    def share(self) -> float:
        """Spent of the limit; 1 is all of it."""
        return float(self.spent / self.limit)


class CurrencySummary(Record):
    """The figures of one currency."""

    currency: str
    day: Decimal
    day_estimate: Decimal
    day_before: Decimal
    month: Decimal
    """From the first of the month to the report's day."""
    month_estimate: Decimal
    forecast: Decimal
    """Of the whole month."""
    forecast_low: Decimal
    forecast_high: Decimal
    untagged: Decimal
    """The part of `month` that bears no tag noria:pipeline."""
    by_pipeline: tuple[Line, ...]
    by_stage: tuple[Line, ...]
    by_service: tuple[Line, ...]
    by_machine: tuple[Line, ...]
    runs: tuple[DearRun, ...]
    days: tuple[DayCost, ...]
    budgets: tuple[BudgetUse, ...] = ()
    reconciliation: Reconciliation | None = None
    efficiency: tuple[Efficiency, ...] = ()
    recommendations: tuple[Recommendation, ...] = ()

    def matters(self, amount: Decimal) -> bool:
        """Whether an amount of the month is worth a place of its own: a thousandth of it all, or more."""
        return abs(amount) * 1000 >= abs(self.month)

    def shown(self, lines: Sequence[Line]) -> list[Line]:
        """Lines of a breakdown that matter."""
        return [line for line in lines if self.matters(line.month)]


class SheetPrice(Record):
    """One price of the sheet that the estimates were made with."""

    what: str
    price: Decimal
    unit: str
    source: str
    date: date


class Summary(Record):
    """All figures of one night."""

    day: date
    """The day (UTC) that it is about, the last one that is over."""
    written_at: datetime
    currencies: tuple[CurrencySummary, ...]
    """Amounts of different currencies are never added; the dearest first."""
    sheet_currency: str
    prices: tuple[SheetPrice, ...]
    notes: tuple[str, ...] = ()
    """What could not be read, has no price, or is in another currency than budgets are."""


def summarise(workspace: Workspace, day: date) -> Summary:
    """All figures of one night.

    Args:
        workspace: The world.
        day: The last day (UTC) to tell of.

    Raises:
        SpecError: The price sheet is wrong.
        StorageError: A table cannot be read.
    """
    sheet = load_sheet(workspace.settings.costs_file)
    since, until = day - timedelta(days=DAYS - 1), day + timedelta(days=1)
    table = open_costs(workspace)
    invoiced = [day for day in table.invoiced_days() if since <= day < until]  # before the rows, which may come since
    costs = with_currency(table.read(since, until, COLUMNS))
    earlier = with_currency(table.read(day - timedelta(days=REACH_DAYS), since, _FORECAST_COLUMNS))
    columns = tuple(dict.fromkeys((*COLUMNS, *_RUN_COLUMNS, *FINDING_COLUMNS)))
    metered = open_metered(workspace).read(since, until, columns)
    runs = run_costs(metered)
    known = facts(runs, workspace)
    compared = {r.currency: r for r in reconcile(costs, metered, invoiced, sheet)}
    saved = recommend(runs, known, stage_uses(metered), sheet, tuple(compared.values()))
    bought = efficiencies(runs, known, sheet)
    bounds, notes = _bounds(workspace, sheet)
    night = _Night(workspace, day, runs)
    lines = [line for rows in (earlier, costs) for line in totals(rows, _FORECAST_COLUMNS[:-1])]
    beside = metered_beside(workspace, sheet, day - timedelta(days=REACH_DAYS), until)
    found = []
    for currency in currencies(costs):
        forecasts = _Forecasts(day, [line for line in lines if line[CURRENCY] == currency], beside)
        figures = night.figures(currency, where(costs, CURRENCY, currency), forecasts)
        parts = {
            "budgets": tuple(_used(bounds, forecasts) if currency == sheet.currency else ()),
            "reconciliation": compared.get(currency),
            "efficiency": tuple(line for line in bought if line.currency == currency),
            "recommendations": tuple(line for line in saved if line.currency == currency),
        }
        found.append(figures.model_copy(update=parts))
    return Summary(
        day=day,
        written_at=workspace.clock(),
        currencies=tuple(sorted(found, key=lambda c: (-c.month, c.currency))),
        sheet_currency=sheet.currency,
        prices=tuple(_prices(sheet)),
        notes=(*notes, *_lacks(costs, metered, day.replace(day=1), sheet)),
    )


def _lacks(costs: pa.Table, metered: pa.Table, month: date, sheet: PriceSheet) -> Iterator[str]:
    """What the figures of a month lack."""
    yield from findings(days_from(metered, month))
    yield from (notice.words for notice in other_currencies(costs, month, sheet))


@dataclass(frozen=True)
class _Forecasts:
    """Of the month of a day that is over, in one currency, from what days have cost by pipeline."""

    day: date
    lines: Sequence[Mapping[str, Any]]
    beside: Sequence[Mapping[str, Any]]
    """What was metered on days with an invoice, in the price sheet's currency."""

    def of_month(self, pipeline: str | None = None) -> Forecast:
        """Of a pipeline, or of everything."""
        return forecast_month(self._daily(pipeline), self.day + timedelta(days=1), self.day)

    def spent(self, pipeline: str | None, period: Literal["day", "month"]) -> Decimal:
        """Of the day, or of its month so far."""
        first = self.day if period == "day" else self.day.replace(day=1)
        return sum((cost for day, cost in self._daily(pipeline).items() if day >= first), ZERO)

    def _daily(self, pipeline: str | None) -> dict[date, Decimal]:
        return daily_charged(self.lines, self.beside, pipeline)


@dataclass(frozen=True)
class _Night:
    """What the figures of every currency are made with."""

    workspace: Workspace
    day: date
    runs: Sequence[RunCost]

    def figures(self, currency: str, rows: pa.Table, forecasts: _Forecasts) -> CurrencySummary:
        """The figures that come from the table itself."""
        month = days_from(rows, self.day.replace(day=1))
        today = where(month, focus.DAY, self.day.isoformat())
        forecast = forecasts.of_month()
        return CurrencySummary(
            currency=currency,
            day=total(today),
            day_estimate=total(estimates(today)),
            day_before=total(where(rows, focus.DAY, (self.day - timedelta(days=1)).isoformat())),
            month=total(month),
            month_estimate=total(estimates(month)),
            forecast=forecast.total,
            forecast_low=forecast.low,
            forecast_high=forecast.high,
            untagged=total(where(month, focus.PIPELINE, None)),
            by_pipeline=self._lines(month, focus.PIPELINE),
            by_stage=self._lines(month, focus.STAGE),
            by_service=self._lines(month, "ServiceName"),
            by_machine=self._lines(month, focus.MACHINE),
            runs=tuple(self._dearest(currency, month)),
            days=tuple(self._days(rows)),
        )

    def _lines(self, month: pa.Table, column: str) -> tuple[Line, ...]:
        sums: dict[str | None, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        for row in totals(month, (column, focus.DAY, focus.ORIGIN)):
            line = sums[row[column]]
            line["month"] += row["cost"]
            line["day"] += row["cost"] if row[focus.DAY] == self.day.isoformat() else ZERO
            line["estimate"] += row["cost"] if row[focus.ORIGIN] == METERING else ZERO
        lines = (Line(name=name, **{key: s[key] for key in ("day", "month", "estimate")}) for name, s in sums.items())
        return tuple(sorted(lines, key=lambda line: (line.name is None, -line.month, line.name or "")))

    def _days(self, rows: pa.Table) -> list[DayCost]:
        """Every day from the first one that was read, those without costs too."""
        sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        estimated: dict[str, Decimal] = defaultdict(Decimal)
        for row in totals(rows, (focus.DAY, focus.PIPELINE, focus.ORIGIN)):
            sums[row[focus.DAY]][row[focus.PIPELINE] or ""] += row["cost"]
            estimated[row[focus.DAY]] += row["cost"] if row[focus.ORIGIN] == METERING else ZERO
        every = [self.day - timedelta(days=number) for number in reversed(range(DAYS))]
        return [
            DayCost(day=day, total=sum(of.values(), ZERO), estimate=estimated[str(day)], by_pipeline=dict(of))
            for day in every
            for of in [sums[str(day)]]
        ]

    def _dearest(self, currency: str, month: pa.Table) -> Iterator[DearRun]:
        metered = {(run.pipeline, run.run_id): run for run in self.runs if run.currency == currency}
        for pipeline, run_id in _ranked(month)[:_DEAREST]:
            own = where(where(month, focus.PIPELINE, pipeline), focus.RUN, run_id)
            used = metered.get((pipeline, run_id))
            url, page = _links(pipeline, run_id, self.workspace)
            yield DearRun(
                pipeline=pipeline,
                run_id=run_id,
                cost=total(own),
                is_estimate=estimates(own).num_rows > 0,
                outcome=used.outcome if used else None,
                vcpu_seconds=used.vcpu_seconds if used else None,
                cpu_seconds=used.cpu_seconds if used else None,
                told_vcpu_seconds=used.told_vcpu_seconds if used else None,
                by_stage={row[focus.STAGE] or "": row["cost"] for row in totals(own, (focus.STAGE,))},
                airflow_url=url,
                report=page,
            )


def _ranked(rows: pa.Table) -> list[tuple[str, str]]:
    """Pipeline and id of the dearest runs, the dearest first."""
    import pyarrow.compute as pc

    of_runs = rows.filter(pc.and_(pc.is_valid(rows[focus.RUN]), pc.is_valid(rows[focus.PIPELINE])))
    keys = [focus.PIPELINE, focus.RUN]
    sums = of_runs.select([*keys, COST]).group_by(keys).aggregate([(COST, "sum")])
    order = [(f"{COST}_sum", "descending"), *((key, "ascending") for key in keys)]
    return [(row[focus.PIPELINE], row[focus.RUN]) for row in sums.sort_by(order).slice(0, _DEAREST).to_pylist()]


def _links(pipeline: str, run_id: str, workspace: Workspace) -> tuple[str | None, str | None]:
    """A run in Airflow, and the lake path of its page. A run of an invoice may be unknown here."""
    with contextlib.suppress(NoriaError, ValueError):
        page = run_path(pipeline, run_id, "report/report.html")
        run = workspace.load_run(pipeline, run_id)
        return run.ui_url, page if workspace.lake.exists(page) else None
    return None, None


_Bounds = list[tuple[str | None, Literal["day", "month"], float]]


def _bounds(workspace: Workspace, sheet: PriceSheet) -> tuple[_Bounds, list[str]]:
    """All bounds by the day and by the month, and what could not be read of them."""
    found: _Bounds = [(None, "day", sheet.total.per_day or 0), (None, "month", sheet.total.per_month or 0)]
    notes = []
    for name in sorted(find_pipelines(workspace.settings.pipelines)):
        try:
            budget = load_pipeline(name, workspace.settings.pipelines).budget
        except NoriaError as error:
            notes.append(f"The budget of {name} cannot be read: {error}")
            continue
        found += [(name, "day", budget.per_day or 0), (name, "month", budget.per_month or 0)]
    return [bound for bound in found if bound[2]], notes


def _used(bounds: _Bounds, forecasts: _Forecasts) -> Iterator[BudgetUse]:
    for pipeline, period, limit in bounds:
        yield BudgetUse(
            pipeline=pipeline,
            period=period,
            limit=Decimal(str(limit)),
            spent=forecasts.spent(pipeline, period),
            forecast=forecasts.of_month(pipeline).total if period == "month" else None,
        )


def _prices(sheet: PriceSheet) -> Iterator[SheetPrice]:
    for name, machine in sheet.machines.items():
        given = ((machine.per_vcpu_hour, "vCPU hour"), (machine.per_node_hour, "node hour"))
        for price, unit in (*given, (machine.per_memory_gb_hour, "GB hour of memory")):
            if price is not None:
                yield SheetPrice(what=name, price=price, unit=unit, source=machine.source, date=machine.date)
    if (kept := sheet.storage) is not None:
        yield SheetPrice(what="storage", price=kept.per_gb_month, unit="GB month", source=kept.source, date=kept.date)
    if (asked := sheet.requests) is not None:
        for price, unit in ((asked.per_10000_reads, "10,000 reads"), (asked.per_10000_writes, "10,000 writes")):
            yield SheetPrice(what="requests", price=price, unit=unit, source=asked.source, date=asked.date)
