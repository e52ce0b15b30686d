"""Invoices that were delivered into the lake are taken into the table, each day from the newest that has it.

What was taken in stays where it is; that it was is told by the table alone.
"""

from __future__ import annotations

import contextlib
import logging
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from noria.costs import focus
from noria.costs.deliveries import ROOT, Delivery, look
from noria.costs.focus import midnight
from noria.costs.invoice_rows import Invoice, Part
from noria.costs.table import INVOICE, METERING, CostTable, open_costs
from noria.errors import InputError
from noria.lake import Lake
from noria.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)
LATE = timedelta(days=4)
"""For so long after its beginning charges of a day may be late; an estimate tells more than that there are none."""
_SWITCHED = timedelta(days=3)
"""An export that has delivered nothing for so long, while another one has, was replaced by that one."""
_SHOWN = 3


@dataclass(frozen=True)
class Ingested:
    """What taking in has done.

    Attributes:
        written: Days that were written.
        empty: Those of them for which nothing was charged.
        kept: Days that have an estimate still, since the newest invoice has no charges for them yet.
        moved: Deliveries with charges of days before or after theirs, and how many.
        left: Days that were delivered and hold something as new already.
        missing: Days without an invoice between the first and the last one that have one.
        waiting: Deliveries that are not all there yet, and what is lacking.
        refused: Deliveries that cannot be used, and why; days are taken from others.
    """

    written: tuple[date, ...] = ()
    empty: tuple[date, ...] = ()
    kept: tuple[date, ...] = ()
    moved: tuple[str, ...] = ()
    left: tuple[date, ...] = ()
    missing: tuple[date, ...] = ()
    waiting: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """What people should know, in words."""
        days = {
            "nothing was charged": self.empty,
            "no charges yet, so the estimates stand": self.kept,
            "no invoice, though there is one of days before and after": self.missing,
        }
        said = [f"{what}: {_few(which)}" for what, which in days.items() if which]
        return [*said, *self.moved, *self.waiting, *self.refused]


def ingest(workspace: Workspace, root: str = ROOT) -> Ingested:
    """Take all deliveries into the table that are newer than what stands there; once more changes nothing.

    A delivery is one commit. One that cannot be used is in nobody's way.

    Raises:
        BusyError: Other writers of the table were quicker each time.
        StorageError: The lake cannot be read or written.
    """
    table = open_costs(workspace)
    found, stands = look(workspace.lake, root, keep=True), table.invoiced_days()
    taken: list[Ingested] = []
    refused = [*found.refused, *_rivals(found.whole)]
    for delivery in found.whole:
        newer = [day for day in delivery.days if _is_newer(delivery, day, stands)]
        if not newer:
            continue
        try:
            taken.append(_take(delivery, newer, table, workspace.lake))
        except InputError as error:
            refused.append(f"{delivery.path}: {error}")
            continue
        log.info("%s: %s days written", delivery.path, len(taken[-1].written))
        stands |= dict.fromkeys(taken[-1].written, delivery.submitted_at)
    for problem in refused:
        log.error("%s", problem)
    for lack in found.waiting:
        log.info("%s", lack)
    written = {day for one in taken for day in one.written}
    delivered = {day for delivery in found.whole for day in delivery.days}
    return Ingested(
        written=tuple(sorted(written)),
        empty=tuple(sorted(day for one in taken for day in one.empty)),
        kept=tuple(sorted({day for one in taken for day in one.kept} - written)),
        moved=tuple(said for one in taken for said in one.moved),
        left=tuple(sorted(delivered & set(stands) - written)),
        missing=_gaps(stands),
        waiting=tuple(found.waiting),
        refused=tuple(refused),
    )


def _is_newer(delivery: Delivery, day: date, stands: Mapping[date, datetime]) -> bool:
    return day not in stands or delivery.submitted_at > stands[day]


def _take(delivery: Delivery, days: Sequence[date], table: CostTable, lake: Lake) -> Ingested:
    """Write days of a delivery."""
    fresh = [day for day in days if delivery.submitted_at < midnight(day) + LATE]
    with _fetched(delivery, lake) as parts:
        invoice = Invoice.open(parts, delivery.first, delivery.last, table.columns())
        filled: set[str] = set()
        done = table.replace_days(
            days,
            _noting_days(invoice.batches(INVOICE), filled),
            origin=INVOICE,
            submitted_at=delivery.submitted_at,
            reason=f"delivered as {posixpath.dirname(delivery.path)}",
            more=invoice.more,
            unless_empty=_estimated(fresh, table),
        )
    without = [day for day in days if day.isoformat() not in filled]
    return Ingested(
        written=tuple(done),
        empty=tuple(day for day in without if day in done),
        kept=tuple(day for day in without if day not in done),
        moved=_told_moved(delivery, invoice.moved),
    )


def _estimated(days: Sequence[date], table: CostTable) -> set[date]:
    """Those of the days that have estimates of more than nothing."""
    if not days:
        return set()
    rows = table.read(min(days), max(days) + timedelta(days=1), [focus.DAY, focus.ORIGIN, "BilledCost"]).to_pylist()
    costly = {row[focus.DAY] for row in rows if row[focus.ORIGIN] == METERING and row["BilledCost"]}
    return {day for day in days if day.isoformat() in costly}


def _told_moved(delivery: Delivery, moved: Mapping[date, int]) -> tuple[str, ...]:
    if not moved:
        return ()
    return (
        f"{posixpath.dirname(delivery.path)}: charges of other days than {delivery.first} to {delivery.last}, booked "
        f"on the nearest of these: {sum(moved.values())} of {_few(sorted(moved))}",
    )


def _few(days: Sequence[date]) -> str:
    more = f" and {len(days) - _SHOWN} days more" if len(days) > _SHOWN else ""
    return ", ".join(map(str, days[:_SHOWN])) + more


def _noting_days(rows: Iterator[pa.RecordBatch], filled: set[str]) -> Iterator[pa.RecordBatch]:
    for batch in rows:
        filled.update(batch.column(focus.DAY).unique().to_pylist())
        yield batch


@contextlib.contextmanager
def _fetched(delivery: Delivery, lake: Lake) -> Iterator[list[Part]]:
    """The parts as local files."""
    with contextlib.ExitStack() as stack:
        yield [Part(path, stack.enter_context(lake.local(path)), rows) for path, rows in delivery.parts]


def _rivals(whole: Sequence[Delivery]) -> list[str]:
    """A complaint where exports of several scopes deliver: a day is replaced whole, so one would hide the other."""
    newest: dict[str, datetime] = {}
    for delivery in whole:
        newest[delivery.scope] = max(delivery.submitted_at, newest.get(delivery.scope, delivery.submitted_at))
    latest = max(newest.values(), default=None)
    scopes = sorted(scope for scope, at in newest.items() if latest and scope and latest - at < _SWITCHED)
    if len(scopes) < 2:
        return []
    return [f"exports of {len(scopes)} scopes deliver here, and each replaces the other's days: {', '.join(scopes)}"]


def _gaps(stands: Mapping[date, datetime]) -> tuple[date, ...]:
    if not stands:
        return ()
    first, last = min(stands), max(stands)
    every = (first + timedelta(days=number) for number in range((last - first).days))
    return tuple(day for day in every if day not in stands)
