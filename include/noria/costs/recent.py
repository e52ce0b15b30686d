"""Charges up to this moment: of a table, and of days that no night has written yet, as their jobs were metered."""

from __future__ import annotations

from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING

from noria.costs.metering import metered_rows
from noria.costs.sheet import PriceSheet
from noria.costs.table import CostTable
from noria.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa


def today(workspace: Workspace) -> date:
    """The day (UTC)."""
    return workspace.clock().astimezone(UTC).date()


def rows_until_now(
    table: CostTable, workspace: Workspace, sheet: PriceSheet, since: date, columns: tuple[str, ...]
) -> pa.Table:
    """Rows from a day on until now.

    Nights catch up what they have missed, so days after the last one that is written are those to be priced here.

    Raises:
        StorageError: The table or what was metered cannot be read.
    """
    import pyarrow as pa

    end = today(workspace) + timedelta(days=1)
    days = [since + timedelta(days=number) for number in range((end - since).days)]
    written = table.submitted(days)
    last = max(written, default=None)
    rest = [day for day in days if last is None or day > last]
    parts = [table.read(since, end, columns), *(metered_rows(workspace, day, sheet).select(columns) for day in rest)]
    return pa.concat_tables(parts, promote_options="permissive")
