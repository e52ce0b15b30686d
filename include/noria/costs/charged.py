"""What is held against bounds, day by day. Where an invoice names no pipeline, estimates stand in for its charges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from noria.costs import focus
from noria.costs.recent import priced_now, unwritten
from noria.costs.sheet import PriceSheet
from noria.costs.sums import COST, CURRENCY, ZERO, daily_costs, of_days, totals
from noria.costs.table import open_costs, open_metered
from noria.workspace import Workspace

Lines = Iterable[Mapping[str, Any]]
_COLUMNS = (focus.PIPELINE, focus.DAY, CURRENCY, COST)


def metered_beside(workspace: Workspace, sheet: PriceSheet, since: date, until: date) -> list[Mapping[str, Any]]:
    """What was metered on days that have an invoice, by pipeline and day, in the sheet's currency.

    It is to be read after the rows of `costs`: an invoice that comes in between then changes nothing.

    Args:
        workspace: The world.
        sheet: Its currency counts, and its prices where no night has metered a day.
        since: First day (UTC).
        until: The day after the last one.

    Raises:
        StorageError: A table or what was metered cannot be read.
    """
    import pyarrow as pa

    invoiced = [day for day in open_costs(workspace).invoiced_days() if since <= day < until]
    if not invoiced:
        return []
    table = open_metered(workspace)
    unmetered = set(unwritten(table, workspace, since, until)).intersection(invoiced)
    rest = priced_now(sorted(unmetered), workspace, sheet, _COLUMNS)
    rows = pa.concat_tables([table.read(since, until, _COLUMNS), *rest.values()], promote_options="permissive")
    return [line for line in totals(of_days(rows, invoiced), _COLUMNS[:-1]) if line[CURRENCY] == sheet.currency]


def daily_charged(lines: Lines, beside: Lines, pipeline: str | None) -> dict[date, Decimal]:
    """Day (UTC) -> what is held against the bounds of a pipeline, or of everything.

    Where a day's invoice stands, that is for a pipeline the larger of the charges that name it and of its estimates.

    Args:
        lines: Of `costs`, by pipeline and day, in one currency.
        beside: Those of `metered_beside` in the same currency.
        pipeline: Its name, or none for everything: all charges count there, whomever they name.
    """
    daily = daily_costs(lines, pipeline)
    if pipeline is not None:
        for day, cost in daily_costs(beside, pipeline).items():
            daily[day] = max(cost, daily.get(day, ZERO))
    return daily
