"""Estimate beside invoice: what differs, in parts that add up to the difference, and how far the price sheet is off.

Both are compared for days whose invoice stands, also where it charges nothing. Within a day, what jobs were metered to
use of a machine is held against what the invoice charges for it, pipeline by pipeline where the charges are labelled.
Quantities are brought to one unit first; where that cannot be done the difference is a rest, and a note says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import TYPE_CHECKING, Any

from noria.costs import focus
from noria.costs.kinds import COLUMNS as CHARGE_COLUMNS
from noria.costs.kinds import STORAGE, UNUSED, Cell, Charge, by_kind, capacity, charges_of
from noria.costs.sheet import PriceSheet
from noria.costs.sums import CURRENCY, currencies, invoices, of_days, totals, where
from noria.records import Record

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (*CHARGE_COLUMNS, CURRENCY, focus.RUN, focus.STAGE)
"""What has to be read of both tables."""
PARTS = {
    "idle": "node time that was paid for and not used by jobs, reserved time too",
    "unlabelled": "charges without the tags noria:…",
    "price": "the same quantity at another price: the price sheet’s error",
    "storage": "what the lake keeps, and requests to it",
    "not_invoiced": "metered, and not on the invoice: workers of your own, or charges that are still to come",
    "rest": "charges that nobody meters, corrections, less time than metered, or a quantity that is not understood",
}
LOCAL = "local"
_ZERO = Decimal(0)
_PLACES = Decimal(1).scaleb(-18)
_MOST_TAGS = 10
_WHOLE = {STORAGE: "storage", UNUSED: "idle"}
"""Kinds of which all that is charged is one part of the difference."""


class Parts(Record):
    """A difference, invoice less estimate, taken apart. See `PARTS` for what each one means."""

    idle: Decimal = _ZERO
    unlabelled: Decimal = _ZERO
    price: Decimal = _ZERO
    storage: Decimal = _ZERO
    not_invoiced: Decimal = _ZERO
    rest: Decimal = _ZERO

    @property
    def total(self) -> Decimal:
        """All parts together."""
        return sum((getattr(self, name) for name in PARTS), _ZERO)


class Compared(Record):
    """Estimate and invoice of one day, pipeline or tag."""

    name: str | None
    """The day or the pipeline; none: without a tag."""
    estimate: Decimal
    invoice: Decimal
    parts: Parts

    @property
    def difference(self) -> Decimal:
        """Invoice less estimate."""
        return self.invoice - self.estimate


class Tagged(Record):
    """Estimate and invoice of what bears one value of a tag."""

    tag: str
    """`noria:pipeline`, `noria:stage` or `noria:run`."""
    value: str | None
    estimate: Decimal
    invoice: Decimal


class PriceError(Record):
    """The price sheet held against the invoice for one machine, or for storage."""

    machine: str
    key: str
    """Of the price sheet: per_vcpu_hour, per_node_hour or per_gb_month."""
    quantity: float
    """What both prices were measured on, in the unit of the key."""
    sheet: Decimal
    invoiced: Decimal
    """What the invoice charged for one; proposed for the sheet."""

    @property
    def percent(self) -> float:
        """How much more than the invoice the sheet says; negative: less."""
        return float(100 * (self.sheet - self.invoiced) / self.invoiced) if self.invoiced else 0.0


class Reconciliation(Record):
    """Estimate beside invoice, in one currency, over the days whose invoice stands."""

    currency: str
    days: int
    first: str
    last: str
    total: Compared
    by_day: tuple[Compared, ...]
    by_pipeline: tuple[Compared, ...]
    by_tag: tuple[Tagged, ...]
    prices: tuple[PriceError, ...]
    notes: tuple[str, ...] = ()


def reconcile(costs: pa.Table, metered: pa.Table, days: Collection[date], sheet: PriceSheet) -> list[Reconciliation]:
    """Hold the estimates against the invoice, one currency at a time.

    Args:
        costs: Rows of the table `costs`; those that are metered are left out.
        metered: Rows of the table `metered` for at least the same days.
        days: Days that have an invoice; one without charges is compared too, one that is charged in other currencies
            alone is not.
        sheet: The price sheet, which knows how many vCPUs a node has.

    Returns:
        Nothing where no day has an invoice.
    """
    bills, ours = of_days(invoices(costs), days), of_days(metered, days)
    every = {day.isoformat() for day in days}
    return [_reconcile(currency, bills, ours, every, sheet) for currency in currencies(bills) or currencies(ours)]


def _reconcile(
    currency: str, bills: pa.Table, ours: pa.Table, days: Collection[str], sheet: PriceSheet
) -> Reconciliation:
    others = set(currencies(ours)) - {currency}
    charged = set(bills[focus.DAY].unique().to_pylist())
    bills = where(bills, CURRENCY, currency)
    elsewhere = charged - set(bills[focus.DAY].unique().to_pylist())
    own = sorted(set(days) - elsewhere)
    ours = of_days(where(ours, CURRENCY, currency), map(date.fromisoformat, own))
    estimated = list(charges_of(ours, sheet))
    billed = list(charges_of(bills, sheet, {charge.kind for charge in estimated}))
    books = _Books(currency, own, billed, estimated, sheet)
    return books.closed(others, elsewhere, tuple(_tags(bills, ours)))


_Lines = dict[tuple[str, str | None], dict[str, Decimal]]


@dataclass
class _Books:
    """The charges of one currency, as they are matched."""

    currency: str
    days: Sequence[str]
    """Those that have an invoice, in their order."""
    invoiced: Sequence[Charge]
    estimated: Sequence[Charge]
    sheet: PriceSheet
    lines: _Lines = field(default_factory=lambda: defaultdict(lambda: defaultdict(Decimal)))
    """Day and pipeline -> estimate, invoice, and each part."""
    measured: dict[str, list[Decimal]] = field(default_factory=lambda: defaultdict(lambda: [_ZERO, _ZERO, _ZERO]))
    """Kind -> quantity, and what it costs by the sheet and by the invoice."""
    notes: dict[str, None] = field(default_factory=dict)

    def closed(self, others: set[str], elsewhere: Collection[str], tags: tuple[Tagged, ...]) -> Reconciliation:
        """All of it, matched.

        Args:
            others: Further currencies that there are estimates in.
            elsewhere: Days that are charged in other currencies alone.
            tags: Both sides by tag.
        """
        if not self.estimated and others:
            self._note(
                f"The invoice is in {self.currency}, the price sheet in {', '.join(sorted(others))}: nothing can be "
                "compared. Give the prices of the sheet in the invoice’s currency."
            )
        if elsewhere:
            self._note(f"Left out, since they are charged in another currency alone: {', '.join(sorted(elsewhere))}.")
        for side, charges in (("invoice", self.invoiced), ("estimate", self.estimated)):
            for charge in charges:
                self.lines[charge.day, charge.pipeline][side] += charge.cost
                if charge.unit:
                    self._note(
                        f"The unit {charge.unit!r} of {charge.kind} is not understood; its quantity is left out."
                    )
        with localcontext() as context:
            context.prec = 60
            for day in self.days:
                self._match(day)
        return Reconciliation(
            currency=self.currency,
            days=len(self.days),
            first=self.days[0],
            last=self.days[-1],
            total=next(self._sums(lambda _: "total")),
            by_day=tuple(self._sums(lambda key: key[0])),
            by_pipeline=tuple(self._sums(lambda key: key[1])),
            by_tag=tags,
            prices=tuple(self._prices()),
            notes=tuple(self.notes),
        )

    def _note(self, text: str) -> None:
        self.notes[text] = None

    def _match(self, day: str) -> None:
        ours = by_kind(c for c in self.estimated if c.day == day)
        theirs = by_kind(c for c in self.invoiced if c.day == day)
        for (pipeline, kind), cell in list(ours.items()):
            if kind == STORAGE:
                self._add(day, pipeline, "storage", -cell.cost)
            elif kind == LOCAL:
                self._add(day, pipeline, "not_invoiced", -cell.cost)
            elif pipeline is not None and (pipeline, kind) in theirs:
                self._split(day, pipeline, kind, cell, theirs.pop((pipeline, kind)))
            else:
                continue
            del ours[pipeline, kind]
        for (pipeline, kind), cell in theirs.items():
            if kind in _WHOLE:
                self._add(day, pipeline, _WHOLE[kind], cell.cost)
            elif pipeline is not None:
                self._add(day, pipeline, "idle" if kind in self.sheet.machines else "rest", cell.cost)
            else:
                self._shared(day, kind, cell, ours)
        for (pipeline, kind), cell in ours.items():
            self._add(day, pipeline, "not_invoiced", -cell.cost)
            if cell.cost:
                self._note(f"What was metered on {kind} is not on the invoice of every day.")

    def _shared(self, day: str, kind: str, cell: Cell, ours: dict[tuple[str | None, str], Cell]) -> None:
        """A machine's charges without a tag: what jobs were metered to use of it is theirs, the rest of it was idle."""
        users = {key: ours.pop(key) for key in list(ours) if key[1] == kind}
        if not users:
            self._add(day, None, "unlabelled", cell.cost)
            return
        together = Cell(quantity=_ZERO)
        for (pipeline, _), used in users.items():
            self._add(day, pipeline, "unlabelled", -used.cost)
            together.cost += used.cost
            known = together.quantity is not None and used.quantity is not None
            together.quantity = together.quantity + used.quantity if known else None  # type: ignore[operator]
        self._add(day, None, "unlabelled", together.cost)
        self._split(day, None, kind, together, cell)

    def _split(self, day: str, pipeline: str | None, kind: str, ours: Cell, theirs: Cell) -> None:
        """The same machine on both sides: another price for the same time, and time beyond it."""
        difference = theirs.cost - ours.cost
        if ours.price is None or theirs.price is None:
            self._add(day, pipeline, "rest", difference)
            self._note(f"How much of {kind} was charged is not told in a unit that is understood.")
            return
        both = min(ours.quantity or _ZERO, theirs.quantity or _ZERO)
        self._measure(kind, both, ours.price, theirs.price)
        price = (both * (theirs.price - ours.price)).quantize(_PLACES, ROUND_HALF_EVEN)
        self._add(day, pipeline, "price", price)
        longer = (theirs.quantity or _ZERO) >= (ours.quantity or _ZERO)
        self._add(day, pipeline, "idle" if longer else "rest", difference - price)

    def _measure(self, kind: str, quantity: Decimal, ours: Decimal, theirs: Decimal) -> None:
        measured = self.measured[kind]
        measured[0] += quantity
        measured[1] += quantity * ours
        measured[2] += quantity * theirs

    def _add(self, day: str, pipeline: str | None, part: str, amount: Decimal) -> None:
        self.lines[day, pipeline][part] += amount

    def _sums(self, name: Any) -> Iterator[Compared]:
        sums: dict[str | None, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        for key, amounts in self.lines.items():
            for what, amount in amounts.items():
                sums[name(key)][what] += amount
        for line in sorted(sums, key=lambda text: (text is None, text)):
            amounts = sums[line]
            yield Compared(
                name=line,
                estimate=amounts["estimate"],
                invoice=amounts["invoice"],
                parts=Parts(**{part: amounts[part] for part in PARTS}),
            )

    def _prices(self) -> Iterator[PriceError]:
        kept, billed = capacity(self.estimated), capacity(self.invoiced)
        if kept.price is not None and billed.price is not None:
            self._measure(STORAGE, kept.quantity or _ZERO, kept.price, billed.price)
        for kind, (quantity, ours, theirs) in sorted(self.measured.items()):
            if quantity <= 0 or theirs <= 0:  # a refund is no price
                continue
            machine = self.sheet.machines.get(kind)
            key, units = "per_gb_month" if kind == STORAGE else "per_vcpu_hour", 1
            if machine is not None and machine.vcpus:
                key, units = "per_node_hour", machine.vcpus
            yield PriceError(
                machine=kind,
                key=key,
                quantity=float(quantity / units),
                sheet=_rounded(units * ours / quantity),
                invoiced=_rounded(units * theirs / quantity),
            )


def _tags(bills: pa.Table, ours: pa.Table) -> Iterator[Tagged]:
    """Both sides by each tag; of the values that differ most."""
    for tag, column in (("pipeline", focus.PIPELINE), ("stage", focus.STAGE), ("run", focus.RUN)):
        sums: dict[str | None, list[Decimal]] = defaultdict(lambda: [_ZERO, _ZERO])
        for side, table in enumerate((ours, bills)):
            for row in totals(table, (column,)):
                sums[row[column]][side] += row["cost"]
        lines = [Tagged(tag=f"noria:{tag}", value=v, estimate=a, invoice=b) for v, (a, b) in sums.items()]
        yield from sorted(lines, key=lambda t: -abs(t.invoice - t.estimate))[:_MOST_TAGS]


def _rounded(price: Decimal) -> Decimal:
    """A price to six significant digits: more would be false precision."""
    return Decimal(f"{float(price):.6g}")
