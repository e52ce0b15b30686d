"""The table of what things cost, in the lake: a day is replaced whole, in one commit, by what was delivered later.

Whether a delivery is newer than what stands is told by Delta's own application transactions, one for each day, written
with its rows: `noria/costs/<day>` for invoices and `noria/costs/<day>/metering` for estimates. Their version is when
the delivery was submitted, in milliseconds. An estimate never takes the place of an invoice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noria.costs import focus
from noria.lake import Lake, delta
from noria.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

COSTS, METERED = "costs", "metered"
"""Lake paths of the table that people read, and of the one that keeps all estimates."""
METERING, INVOICE, QUERY = "metering", "invoice", "query"
"""Values of x_Origin."""
_APP = "noria/costs/"
_ORIGIN, _REASON, _SUMS = "noriaOrigin", "noriaReason", "noriaSums"
_KEPT_FOR = "interval 5200 weeks"
_CONFIGURATION = {
    "delta.enableExpiredLogCleanup": "false",  # the log is the history of restatements
    "delta.logRetentionDuration": _KEPT_FOR,
    "delta.deletedFileRetentionDuration": _KEPT_FOR,  # for time travel; VACUUM leaves these files
}

Sums = Mapping[str, Decimal]
"""BilledCost by currency."""


@dataclass(frozen=True)
class Restatement:
    """One commit of the table.

    Attributes:
        version: Delta's version, for time travel.
        at: When it was written (UTC).
        days: Days that it replaced.
        origin: Where its rows are from (`invoice`, `query` or `metering`).
        reason: Why it was written, in words.
        before: What the days cost until then, by currency: BilledCost, while reports add up EffectiveCost.
        after: What they have cost since, in the same way.
    """

    version: int
    at: datetime
    days: tuple[date, ...]
    origin: str
    reason: str
    before: Sums
    after: Sums


class CostTable:
    """A Delta table in the layout of FOCUS, partitioned by the day of the charge and by where its rows are from.

    Args:
        lake: Where it is.
        tmp: Folder on local disk for files while they are read and written; without it the system's.
        path: Lake path of its folder.
    """

    def __init__(self, lake: Lake, tmp: Path | None = None, path: str = COSTS) -> None:
        self._lake, self._tmp, self._path = lake, tmp, path

    @property
    def url(self) -> str:
        """Where it is, for people and for other programs."""
        return self._lake.url(self._path)

    def replace_days(
        self,
        days: Sequence[date],
        rows: Iterable[pa.RecordBatch],
        *,
        origin: str,
        submitted_at: datetime,
        reason: str,
        more: pa.Schema | None = None,
        unless_empty: Collection[date] = (),
    ) -> list[date]:
        """Put rows in the place of all that some days hold, in one commit: all of these days or none.

        Days that hold what was submitted then or later are left, and so are, by estimates, days with an invoice.

        Args:
            days: Days (UTC); one without rows is without charges from then on.
            rows: Rows of these days, in the layout of `focus.schema()` and after it the columns of `more`; read once,
                and not at all if there is nothing to write. Rows of days that are left are passed over.
            origin: `invoice`, `query` or `metering`.
            submitted_at: When the delivery was submitted, or the estimate made.
            reason: Why, in words, for the history.
            more: Further columns of the rows; they are added to the table where it has not got them.
            unless_empty: Those of the days that are left too if there are no rows of them.

        Returns:
            The days that were written.

        Raises:
            BusyError: Other writers were quicker each time.
            StorageError: The table cannot be read or written.
        """
        version = _milliseconds(submitted_at)
        names = [day.isoformat() for day in days]
        sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))

        without: set[str] = set()  # known once all rows are read, before it is chosen for good

        def choose(stands: delta.Transactions) -> dict[str, tuple[str, int]]:
            newer = (day for day in names if _is_newer(day, origin, version, stands))
            return {day: (_app(day, origin), version) for day in newer if day not in without}

        def counted() -> Iterator[pa.RecordBatch]:
            yield from _summing(rows, sums)
            without.update({day.isoformat() for day in unless_empty} - sums.keys())

        def notes(chosen: Collection[str]) -> dict[str, Any]:
            told = {day: {currency: str(sums[day][currency]) for currency in sorted(sums[day])} for day in chosen}
            return {_ORIGIN: origin, _REASON: reason, _SUMS: told}

        schema = focus.schema() if more is None else _schema([*focus.schema(), *more])
        layout = delta.Layout(schema, (focus.DAY, focus.ORIGIN), _CONFIGURATION)
        written = delta.replace(self._lake, self._path, layout, counted(), choose=choose, notes=notes, tmp=self._tmp)
        return [date.fromisoformat(day) for day in written]

    def submitted(self, days: Iterable[date]) -> dict[date, datetime]:
        """When that was submitted which stands for each of these days, its invoice or else its estimates.

        Days of which nothing stands are left out.
        """
        stands = delta.transactions(self._lake, self._path, self._tmp)
        names = {day: (_app(day.isoformat(), INVOICE), _app(day.isoformat(), METERING)) for day in days}
        found = {day: stands.get(invoice, stands.get(metering)) for day, (invoice, metering) in names.items()}
        return {day: _moment(version) for day, version in found.items() if version is not None}

    def invoiced_days(self) -> dict[date, datetime]:
        """All days that have an invoice, with the time at which it was submitted."""
        stands = delta.transactions(self._lake, self._path, self._tmp)
        names = {name.removeprefix(_APP): version for name, version in stands.items() if name.startswith(_APP)}
        return {date.fromisoformat(day): _moment(version) for day, version in sorted(names.items()) if "/" not in day}

    def first_day(self) -> date | None:
        """The first day of which anything stands, or none."""
        stands = delta.transactions(self._lake, self._path, self._tmp)
        names = (name.removeprefix(_APP).partition("/")[0] for name in stands if name.startswith(_APP))
        return min((date.fromisoformat(day) for day in names), default=None)

    def read(self, since: date, until: date, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of the days from `since` until before `until`, in no order; no rows where there is no table yet.

        Args:
            since: First day (UTC).
            until: The day after the last one.
            columns: Columns to read; without them all that the table has.

        Raises:
            StorageError: The table cannot be read, or a file of it is gone.
        """
        where = [(focus.DAY, ">=", since.isoformat()), (focus.DAY, "<", until.isoformat())]
        with delta.scan(self._lake, self._path, where, self._tmp) as rows:
            there = focus.schema() if rows is None else rows.schema
            wanted = _schema_of(columns or dict.fromkeys([*there.names, *focus.schema().names]), there)
            if rows is None:
                return wanted.empty_table()
            known = rows.to_table(columns=[name for name in wanted.names if name in there.names])
        return _with_all(known, wanted)

    def columns(self) -> pa.Schema | None:
        """Columns that the table has, those of `focus.schema()` and what deliveries had besides; none without a table.

        Raises:
            StorageError: The table's log cannot be read.
        """
        return delta.schema(self._lake, self._path, self._tmp)

    def history(self) -> list[Restatement]:
        """All commits that wrote days, the first one first."""
        stands: dict[str, dict[str, str]] = {}
        found = []
        for commit in delta.history(self._lake, self._path):
            told = commit.facts.get(_SUMS)
            if not isinstance(told, dict):
                continue
            found.append(
                Restatement(
                    version=commit.version,
                    at=commit.at,
                    days=tuple(date.fromisoformat(day) for day in sorted(told)),
                    origin=str(commit.facts.get(_ORIGIN, "")),
                    reason=str(commit.facts.get(_REASON, "")),
                    before=_total(stands[day] for day in told if day in stands),
                    after=_total(told.values()),
                )
            )
            stands |= told
        return found


def open_costs(workspace: Workspace) -> CostTable:
    """The table that people read: for each day its invoice, or else its estimates."""
    return CostTable(workspace.lake, workspace.settings.home / "tmp", COSTS)


def open_metered(workspace: Workspace) -> CostTable:
    """Estimates of all days, also of those that have an invoice."""
    return CostTable(workspace.lake, workspace.settings.home / "tmp", METERED)


def _is_newer(day: str, origin: str, version: int, stands: delta.Transactions) -> bool:
    if origin == METERING and _app(day, INVOICE) in stands:
        return False
    return version > stands.get(_app(day, origin), -1)


def _app(day: str, origin: str) -> str:
    return f"{_APP}{day}/{METERING}" if origin == METERING else f"{_APP}{day}"


def _milliseconds(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


def _moment(version: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=version)


def _schema(fields: Iterable[pa.Field]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(list(fields))


def _schema_of(columns: Iterable[str], there: pa.Schema) -> pa.Schema:
    """These columns as a table has them, or as it would, had it been made today."""
    today = focus.schema()
    return _schema(there.field(name) if name in there.names else today.field(name) for name in columns)


def _with_all(rows: pa.Table, wanted: pa.Schema) -> pa.Table:
    """The same rows with all columns: a table that an earlier release made may lack some."""
    import pyarrow as pa

    lacking = {name for name in wanted.names if name not in rows.schema.names}
    columns = [
        pa.nulls(rows.num_rows, wanted.field(name).type) if name in lacking else rows[name] for name in wanted.names
    ]
    return pa.table(columns, schema=wanted)


def _summing(rows: Iterable[pa.RecordBatch], sums: dict[str, dict[str, Decimal]]) -> Iterator[pa.RecordBatch]:
    """The same rows; what they cost by day and currency is added up in passing."""
    import pyarrow as pa

    keys = [focus.DAY, "BillingCurrency"]
    for batch in rows:
        money = pa.Table.from_batches([batch.select([*keys, "BilledCost"])])
        for row in money.group_by(keys).aggregate([("BilledCost", "sum")]).to_pylist():
            sums[row[focus.DAY]][row["BillingCurrency"] or ""] += row["BilledCost_sum"] or Decimal()
        yield batch


def _total(parts: Iterable[Mapping[str, str]]) -> dict[str, Decimal]:
    total: dict[str, Decimal] = defaultdict(Decimal)
    for part in parts:
        for currency, amount in part.items():
            total[currency] += Decimal(amount)
    return dict(total)
