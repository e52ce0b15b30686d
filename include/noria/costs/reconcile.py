"""Estimate beside invoice: what differs, in parts that add up to the difference, and how far the price sheet is off.

Both are compared for days whose invoice stands, also where it charges nothing. Within a day, what jobs were metered to
use of a machine is held against what the invoice charges for it, pipeline by pipeline where the charges are labelled.
Quantities are brought to one unit first; where that cannot be done the difference is a rest, and a note says so.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import TYPE_CHECKING, Any

from noria.costs import focus
from noria.costs.sheet import PriceSheet
from noria.costs.sums import COST, CURRENCY, currencies, invoices, of_days, totals, where
from noria.costs.units import understood
from noria.records import Record

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (
    "BillingCurrency",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "CommitmentDiscountStatus",
    "ConsumedQuantity",
    "ConsumedUnit",
    COST,
    "PricingQuantity",
    "PricingUnit",
    "ServiceCategory",
    "ServiceName",
    focus.DAY,
    focus.ORIGIN,
    focus.PIPELINE,
    focus.RUN,
    focus.STAGE,
    focus.MACHINE,
)
"""What has to be read of both tables."""
PARTS = {
    "idle": "node time that was paid for and not used by jobs, reserved time too",
    "unlabelled": "charges without the tags noria:…",
    "price": "the same quantity at another price: the price sheet’s error",
    "storage": "what the lake keeps, and requests to it",
    "not_invoiced": "metered, and not on the invoice: workers of your own, or charges that are still to come",
    "rest": "charges that nobody meters, corrections, less time than metered, or a quantity that is not understood",
}
STORAGE, LOCAL = "storage", "local"
_ZERO = Decimal(0)
_PLACES = Decimal(1).scaleb(-18)
_MACHINE_SERVICES = {"synapse": "synapse", "virtual machine": "azureml", "machine learning": "azureml"}
_NODE_HOURS = ("hour", "vcpu hour")
_MOST_TAGS = 10
_QUANTITIES = ("ConsumedQuantity", "PricingQuantity")
_UNITS = ("ConsumedUnit", "PricingUnit")
_BESIDE, _UNUSED = "x_Beside", "unused"
"""Of an invoice's row that is no price of something used: why; else null."""
_WHOLE = {STORAGE: "storage", _UNUSED: "idle"}
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
    estimated = list(_charges(ours, sheet))
    billed = list(_charges(bills, sheet, {charge.kind for charge in estimated}))
    books = _Books(currency, own, billed, estimated, sheet)
    return books.closed(others, elsewhere, tuple(_tags(bills, ours)))


@dataclass(frozen=True)
class _Charge:
    """Rows of one day and of one kind, in one unit."""

    day: str
    pipeline: str | None
    kind: str
    """A machine as the price sheet calls it, storage, or the name of a service."""
    cost: Decimal
    quantity: Decimal | None
    """vCPU hours of a machine, GB months of storage; none where it is not known, 0 of what counts something else."""
    unit: str | None


@dataclass
class _Cell:
    """Charges of one kind together."""

    cost: Decimal = _ZERO
    quantity: Decimal | None = _ZERO
    charges: int = 0

    def add(self, charge: _Charge) -> None:
        self.cost += charge.cost
        self.quantity = None if self.quantity is None or charge.quantity is None else self.quantity + charge.quantity
        self.charges += 1

    @property
    def price(self) -> Decimal | None:
        return self.cost / self.quantity if self.quantity else None


def _charges(table: pa.Table, sheet: PriceSheet, used: Collection[str] = ()) -> Iterator[_Charge]:
    """Rows by day, pipeline and kind; `used` are the machines that jobs were metered on."""
    left = (COST, *_QUANTITIES, focus.RUN, focus.STAGE, CURRENCY, "ChargeClass", "CommitmentDiscountStatus")
    keys = [_BESIDE, *(name for name in COLUMNS if name not in left)]
    for row in totals(_with_beside(table), keys, _QUANTITIES):
        kind = STORAGE if _is_storage(row) else row[focus.MACHINE] or _machine(row, sheet, used)
        if row[_BESIDE]:
            reserved = row[_BESIDE] == _UNUSED and kind in sheet.machines
            kind = _UNUSED if reserved else kind if kind == STORAGE else _service(row)
            yield _Charge(row[focus.DAY], row[focus.PIPELINE], kind, row["cost"], None, None)
            continue
        quantity, unit = _quantity(row, kind, sheet)
        if not quantity and unit is None and kind in sheet.machines and row[focus.MACHINE] is None:
            kind = _service(row) if row["ConsumedUnit"] or row["PricingUnit"] else kind  # no hours, so no node's time
        yield _Charge(row[focus.DAY], row[focus.PIPELINE], kind, row["cost"], quantity, unit)


def _with_beside(table: pa.Table) -> pa.Table:
    """The rows, with why one is no price of something used: a correction, a reservation that nobody used, no quantity.

    Where no unit is told at all, as the Query API does, a charge without a quantity is as good as any.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    is_ours = pc.is_valid(table[focus.MACHINE])
    unit = pc.coalesce(*(table[name] for name in _UNITS))
    quantity = pc.coalesce(*(table[name] for name in _QUANTITIES), pa.scalar(_ZERO, pa.decimal128(38, 18)))
    cases = {
        "": is_ours,
        _UNUSED: pc.equal(table["CommitmentDiscountStatus"], "Unused"),
        "correction": pc.equal(table["ChargeClass"], "Correction"),
        "no quantity": pc.and_(pc.not_equal(unit, ""), pc.equal(quantity, pa.scalar(_ZERO, quantity.type))),
    }
    found = pc.make_struct(*(pc.fill_null(case, False) for case in cases.values()))
    return table.append_column(_BESIDE, pc.case_when(found, *(pa.scalar(name) for name in cases)))


def _is_storage(row: Mapping[str, Any]) -> bool:
    return row["ServiceCategory"] == "Storage" or "storage" in (row["ServiceName"] or "").lower()


def _service(row: Mapping[str, Any]) -> str:
    return row["ServiceName"] or row["ServiceCategory"] or "unknown"


def _machine(row: Mapping[str, Any], sheet: PriceSheet, used: Collection[str]) -> str:
    """What an invoiced charge is for, as the price sheet calls it, or else the name of its service.

    Where no size of node is described, or another name for it, a run's own charge is for the one that there is.
    """
    service = _service(row)
    if (row["ChargeCategory"] or "Usage") != "Usage":
        return f"{service}: {row['ChargeCategory']}"
    family = next((name for word, name in _MACHINE_SERVICES.items() if word in service.lower()), None)
    known = [name for name in sheet.machines if name == family or name.startswith(f"{family}/")]
    described = f" {_plain(row['ChargeDescription'])} "
    if named := [name for name in known if f" {_plain(name.rpartition('/')[2])} " in described]:
        return max(named, key=len)
    candidates = [name for name in known if name in used] or known
    sure = row[focus.PIPELINE] is not None or not described.strip() or candidates == [family]
    return candidates[0] if len(candidates) == 1 and sure else service


def _plain(text: str | None) -> str:
    """A node's size as sheets and invoices write it: `Standard_D4s_v3` and `D4s v3` alike."""
    return " ".join(re.findall(r"[a-z0-9]+", (text or "").lower().replace("standard", "")))


def _quantity(row: Mapping[str, Any], kind: str, sheet: PriceSheet) -> tuple[Decimal | None, str | None]:
    """How much it is in the unit that the price sheet knows for the kind, and the unit that was not understood."""
    wanted = ("gb month",) if kind == STORAGE else _NODE_HOURS
    unknown = None
    for amount, unit in (("ConsumedQuantity", "ConsumedUnit"), ("PricingQuantity", "PricingUnit")):
        found, value = understood(row[unit]), row[amount]
        if found is not None and value is not None and found.dimension in wanted:
            return value * found.size * _vcpus(kind, sheet, found.dimension), None
        if row[unit] and found is None:
            unknown = row[unit]
    # Gigabytes or requests beside a machine's hours are part of what its hours cost.
    return (None, unknown) if unknown or not (row["ConsumedUnit"] or row["PricingUnit"]) else (_ZERO, None)


def _vcpus(kind: str, sheet: PriceSheet, dimension: str) -> int:
    """vCPUs of a node, where its hours are hours of the node."""
    machine = sheet.machines.get(kind)
    return machine.vcpus if machine is not None and machine.vcpus and dimension == "hour" else 1


_Lines = dict[tuple[str, str | None], dict[str, Decimal]]


@dataclass
class _Books:
    """The charges of one currency, as they are matched."""

    currency: str
    days: Sequence[str]
    """Those that have an invoice, in their order."""
    invoiced: Sequence[_Charge]
    estimated: Sequence[_Charge]
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
        ours = _cells(c for c in self.estimated if c.day == day)
        theirs = _cells(c for c in self.invoiced if c.day == day)
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

    def _shared(self, day: str, kind: str, cell: _Cell, ours: dict[tuple[str | None, str], _Cell]) -> None:
        """A machine's charges without a tag: what jobs were metered to use of it is theirs, the rest of it was idle."""
        users = {key: ours.pop(key) for key in list(ours) if key[1] == kind}
        if not users:
            self._add(day, None, "unlabelled", cell.cost)
            return
        together = _Cell(quantity=_ZERO)
        for (pipeline, _), used in users.items():
            self._add(day, pipeline, "unlabelled", -used.cost)
            together.cost += used.cost
            known = together.quantity is not None and used.quantity is not None
            together.quantity = together.quantity + used.quantity if known else None  # type: ignore[operator]
        self._add(day, None, "unlabelled", together.cost)
        self._split(day, None, kind, together, cell)

    def _split(self, day: str, pipeline: str | None, kind: str, ours: _Cell, theirs: _Cell) -> None:
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
        kept, billed = _capacity(self.estimated), _capacity(self.invoiced)
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


def _capacity(charges: Iterable[_Charge]) -> _Cell:
    """What is kept, without the requests to it."""
    together = _Cell()
    for charge in charges:
        if charge.kind == STORAGE and charge.quantity:
            together.add(charge)
    return together


def _cells(charges: Iterable[_Charge]) -> dict[tuple[str | None, str], _Cell]:
    cells: dict[tuple[str | None, str], _Cell] = defaultdict(_Cell)
    for charge in charges:
        cells[charge.pipeline, charge.kind].add(charge)
    return dict(cells)


def _rounded(price: Decimal) -> Decimal:
    """A price to six significant digits: more would be false precision."""
    return Decimal(f"{float(price):.6g}")
