"""What charges are for, of an invoice as of estimates: kinds that can be compared, and quantities in one unit."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from noria.costs import focus
from noria.costs.sheet import PriceSheet
from noria.costs.sums import COST, totals
from noria.costs.units import understood

if TYPE_CHECKING:
    import pyarrow as pa

STORAGE, UNUSED = "storage", "unused"
"""Kinds that are no machine and no service: what is kept, with requests to it; reservations that nobody used."""
_QUANTITIES = ("ConsumedQuantity", "PricingQuantity")
_UNITS = ("ConsumedUnit", "PricingUnit")
_KEYS = (
    "ChargeCategory",
    "ChargeDescription",
    *_UNITS,
    "ServiceCategory",
    "ServiceName",
    focus.DAY,
    focus.ORIGIN,
    focus.PIPELINE,
    focus.MACHINE,
)
COLUMNS = (*_KEYS, *_QUANTITIES, COST, "ChargeClass", "CommitmentDiscountStatus")
"""What has to be read of a table."""
_BESIDE = "x_Beside"
"""Of an invoice's row that is no price of something used: why; else null."""
_ZERO = Decimal(0)
_MACHINE_SERVICES = {"synapse": "synapse", "virtual machine": "azureml", "machine learning": "azureml"}
_NODE_HOURS = ("hour", "vcpu hour")


@dataclass(frozen=True)
class Charge:
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
class Cell:
    """Charges of one kind together."""

    cost: Decimal = _ZERO
    quantity: Decimal | None = _ZERO
    charges: int = 0

    def add(self, charge: Charge) -> None:
        """Put one more in; without its quantity that of all is not known."""
        self.cost += charge.cost
        self.quantity = None if self.quantity is None or charge.quantity is None else self.quantity + charge.quantity
        self.charges += 1

    @property
    def price(self) -> Decimal | None:
        """Of one unit; none where the quantity is 0 or not known."""
        return self.cost / self.quantity if self.quantity else None


def charges_of(table: pa.Table, sheet: PriceSheet, used: Collection[str] = ()) -> Iterator[Charge]:
    """Rows by day, pipeline and kind; `used` are the machines that jobs were metered on."""
    for row in totals(_with_beside(table), (_BESIDE, *_KEYS), _QUANTITIES):
        kind = STORAGE if _is_storage(row) else row[focus.MACHINE] or _machine(row, sheet, used)
        if row[_BESIDE]:
            reserved = row[_BESIDE] == UNUSED and kind in sheet.machines
            kind = UNUSED if reserved else kind if kind == STORAGE else _service(row)
            yield Charge(row[focus.DAY], row[focus.PIPELINE], kind, row["cost"], None, None)
            continue
        quantity, unit = _quantity(row, kind, sheet)
        if not quantity and unit is None and kind in sheet.machines and row[focus.MACHINE] is None:
            kind = _service(row) if row["ConsumedUnit"] or row["PricingUnit"] else kind  # no hours, so no node's time
        yield Charge(row[focus.DAY], row[focus.PIPELINE], kind, row["cost"], quantity, unit)


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
        UNUSED: pc.equal(table["CommitmentDiscountStatus"], "Unused"),
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


def capacity(charges: Iterable[Charge]) -> Cell:
    """What is kept, without the requests to it."""
    together = Cell()
    for charge in charges:
        if charge.kind == STORAGE and charge.quantity:
            together.add(charge)
    return together


def by_kind(charges: Iterable[Charge]) -> dict[tuple[str | None, str], Cell]:
    """Charges put together by pipeline and kind."""
    cells: dict[tuple[str | None, str], Cell] = defaultdict(Cell)
    for charge in charges:
        cells[charge.pipeline, charge.kind].add(charge)
    return dict(cells)
