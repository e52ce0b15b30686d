"""Adding up rows of a table of costs, without taking them out of Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from noria.costs import focus
from noria.costs.table import METERING

if TYPE_CHECKING:
    import pyarrow as pa

COST = "EffectiveCost"
"""What is added up: what was paid, with what was paid in advance spread over what it is used for."""
CURRENCY, NO_CURRENCY = "BillingCurrency", "(no currency)"
ZERO = Decimal(0)


def totals(table: pa.Table, by: Iterable[str], more: Iterable[str] = ()) -> list[dict[str, Any]]:
    """What rows cost together, by some columns.

    Args:
        table: Rows in the layout of the table `costs`.
        by: Columns whose values are told apart.
        more: Further columns that are added up.

    Returns:
        A row for each combination: the columns by their names, the cost under `cost`.
    """
    keys, further = list(by), list(more)
    rows = table.select([*keys, COST, *further]).group_by(keys).aggregate([(name, "sum") for name in (COST, *further)])
    return [
        {key: row[key] for key in keys}
        | {name: row[f"{name}_sum"] for name in further}
        | {"cost": row[f"{COST}_sum"] or ZERO}
        for row in rows.to_pylist()
    ]


def daily_costs(lines: Iterable[Mapping[str, Any]], pipeline: str | None = None) -> dict[date, Decimal]:
    """Day (UTC) -> cost, from rows of `totals` by pipeline and day: of a pipeline, or of everything.

    It begins with the first day that has something of it, for forecasts of the page and of mails alike.
    """
    daily: dict[date, Decimal] = {}
    for line in lines:
        if pipeline is None or line[focus.PIPELINE] == pipeline:
            day = date.fromisoformat(line[focus.DAY])
            daily[day] = daily.get(day, ZERO) + line["cost"]
    return daily


def total(table: pa.Table) -> Decimal:
    """What all rows cost together."""
    import pyarrow.compute as pc

    return pc.sum(table[COST]).as_py() or ZERO


def where(table: pa.Table, column: str, value: str | None) -> pa.Table:
    """Rows with a value in a column; those without one where none is asked for."""
    import pyarrow.compute as pc

    return _filtered(table, pc.is_null(table[column]) if value is None else pc.equal(table[column], value))


def days_from(table: pa.Table, day: object) -> pa.Table:
    """Rows of a day and later."""
    import pyarrow.compute as pc

    return _filtered(table, pc.greater_equal(table[focus.DAY], str(day)))


def of_days(table: pa.Table, days: Iterable[date]) -> pa.Table:
    """Rows of some days."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pa.array([day.isoformat() for day in days], pa.string())
    return _filtered(table, pc.is_in(table[focus.DAY], value_set=names))


def estimates(table: pa.Table) -> pa.Table:
    """Rows that are metered, not invoiced."""
    return where(table, focus.ORIGIN, METERING)


def invoices(table: pa.Table) -> pa.Table:
    """Rows that are invoiced, not metered."""
    import pyarrow.compute as pc

    return _filtered(table, pc.not_equal(table[focus.ORIGIN], METERING))


def with_currency(table: pa.Table) -> pa.Table:
    """The rows, those whose charge names no currency under a name of their own, so that none is lost."""
    import pyarrow.compute as pc

    if not table[CURRENCY].null_count:
        return table
    number = table.schema.get_field_index(CURRENCY)
    return table.set_column(number, table.schema.field(number), pc.fill_null(table[CURRENCY], NO_CURRENCY))


def currencies(table: pa.Table) -> list[str]:
    """Those that there are amounts in, of rows `with_currency`."""
    import pyarrow.compute as pc

    return sorted(pc.unique(table[CURRENCY]).to_pylist())


def _filtered(table: pa.Table, mask: pa.ChunkedArray) -> pa.Table:
    """Rows of a mask; the table itself where these are all, since millions of rows are not copied for nothing."""
    import pyarrow.compute as pc

    return table if pc.all(mask, min_count=0).as_py() else table.filter(mask)
