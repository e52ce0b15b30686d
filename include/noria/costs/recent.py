"""Charges up to this moment: of a table, and of days that no night has written yet, as their jobs were metered."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from noria.costs.metering import metered_rows
from noria.costs.sheet import PriceSheet
from noria.costs.table import CostTable
from noria.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

REACH = timedelta(days=400)
"""So far back are days caught up: a job whose clock was wrong may lie in any year."""
_DAYS_AT_ONCE = 16


def today(workspace: Workspace) -> date:
    """The day (UTC)."""
    return day_of(workspace.clock())


def day_of(moment: datetime) -> date:
    """The day (UTC) of a moment."""
    return moment.astimezone(UTC).date()


def unwritten(table: CostTable, workspace: Workspace, since: date, until: date) -> list[date]:
    """Days of a time, until today at most, of which no night has written anything; today is one of them.

    Raises:
        StorageError: The table's log cannot be read.
    """
    now = today(workspace)
    days = [since + timedelta(days=number) for number in range((min(until, now) - since).days + 1)]
    written = table.submitted(days)
    return [
        day for day in days if day not in written or day == now
    ]  # what was metered today is priced with what follows


def priced_now(
    days: Sequence[date], workspace: Workspace, sheet: PriceSheet, columns: Sequence[str]
) -> dict[date, pa.Table]:
    """What was metered on days that are not written, by the sheet as it is; days without anything are left out."""
    with ThreadPoolExecutor(_DAYS_AT_ONCE) as pool:
        found = pool.map(lambda day: metered_rows(workspace, day, sheet), days)
        return {day: rows.select(list(columns)) for day, rows in zip(days, found, strict=True) if rows.num_rows}


def rows_until_now(
    table: CostTable, workspace: Workspace, sheet: PriceSheet, since: date, columns: tuple[str, ...]
) -> pa.Table:
    """Rows from a day on until now, those of days that no night has written as their jobs were metered.

    Raises:
        StorageError: The table or what was metered cannot be read.
    """
    import pyarrow as pa

    now = today(workspace)
    rest = priced_now(unwritten(table, workspace, since, now), workspace, sheet, columns)
    return pa.concat_tables([table.read(since, now, columns), *rest.values()], promote_options="permissive")
