"""The price sheet: what a machine's hour, a gigabyte's month and a request cost, as the user has written it down.

It prices what was metered, days before an invoice comes. Each price says where it is from and of what date.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from noria.errors import SpecError
from noria.pipeline import load_model
from noria.pipeline.alerts import EmailAddress
from noria.pipeline.base import ContradictionError, Model
from noria.pipeline.budget import Exceeding, Money, contradictions

Price = Annotated[Decimal, Field(ge=0, max_digits=20, decimal_places=12, allow_inf_nan=False)]


class Priced(Model):
    """Where a price is from."""

    source: str = Field(min_length=1, description="Where the price is from: an address, or words.")
    date: datetime.date = Field(description="When it was valid there, such as 2026-11-01.")


class MachinePrice(Priced):
    """An hour of a machine: for each vCPU, or for a whole node."""

    per_vcpu_hour: Price | None = Field(None, description="For one vCPU (a vCore) for one hour.")
    per_node_hour: Price | None = Field(None, description="For a whole node for one hour; needs vcpus.")
    vcpus: int | None = Field(None, gt=0, description="vCPUs of a node.")
    memory_gb: Annotated[Decimal, Field(gt=0, le=100_000)] | None = Field(
        None, description="Gibibytes of memory of a node; with it the report finds nodes that are too large."
    )
    per_memory_gb_hour: Price | None = Field(
        None, description="For a gibibyte of memory for one hour, where memory is paid for by itself."
    )

    @model_validator(mode="after")
    def _one_price(self) -> MachinePrice:
        found: list[tuple[tuple[str, ...], str]] = []
        if (self.per_vcpu_hour is None) == (self.per_node_hour is None):
            found.append((("per_vcpu_hour",), "expected either per_vcpu_hour or per_node_hour"))
        if (self.per_node_hour is None) != (self.vcpus is None):
            found.append((("vcpus",), "expected per_node_hour and vcpus together"))
        if found:
            raise ContradictionError(found)
        return self

    @property
    def vcpu_hour(self) -> Decimal:
        """For one vCPU for one hour."""
        if self.per_vcpu_hour is not None:
            return self.per_vcpu_hour
        assert self.per_node_hour is not None and self.vcpus  # noqa: S101  the validator demands them
        return self.per_node_hour / self.vcpus


class StoragePrice(Priced):
    """What is kept."""

    per_gb_month: Price = Field(description="For one gibibyte for one calendar month.")


class RequestPrice(Priced):
    """What is asked of the lake."""

    per_10000_reads: Price = Field(description="For 10,000 requests that read or list.")
    per_10000_writes: Price = Field(description="For 10,000 requests that write.")


class TotalBudget(Exceeding):
    """Bounds on what everything together may cost, and what happens to a run whose estimate breaks one."""

    per_day: Money | None = Field(None, description="The most that a day (UTC) may cost.")
    per_month: Money | None = Field(None, description="The most that a calendar month (UTC) may cost.")

    @model_validator(mode="after")
    def _is_meant(self) -> TotalBudget:
        if found := list(contradictions(self)):
            raise ContradictionError(found)
        return self


class CostMails(Model):
    """Who gets the nightly cost report."""

    emails: tuple[EmailAddress, ...] = Field((), description="Addresses.")


class PriceSheet(Model):
    """One costs.yaml."""

    currency: str = Field(pattern=r"^[A-Z]{3}$", description="Of all prices and budgets, such as USD (ISO 4217).")
    machines: dict[str, MachinePrice] = Field(
        default_factory=dict, description="By what a job ran on: local, synapse, or azureml/<node size>."
    )
    storage: StoragePrice | None = None
    requests: RequestPrice | None = None
    total: TotalBudget = TotalBudget()
    report: CostMails = CostMails()

    @model_validator(mode="after")
    def _each_machine_once(self) -> PriceSheet:
        names = list(self.machines)
        found = [name for i, name in enumerate(names) if name.lower() in (n.lower() for n in names[:i])]
        if found:
            raise ContradictionError(
                [(("machines", name), "the same machine again, in other letters") for name in found]
            )
        return self

    def name_of(self, machine: str) -> str:
        """A machine as this sheet spells it: Azure writes node sizes in large letters here and in small ones there."""
        return next((name for name in self.machines if name.lower() == machine.lower()), machine)

    def price_of(self, sku: str) -> Decimal | None:
        """What a unit of something that was metered costs, by the `SkuId` of its row; none where it has no price."""
        if sku == "storage":
            return self.storage.per_gb_month if self.storage else None
        if sku in ("requests/read", "requests/write"):
            return getattr(self.requests, f"per_10000_{sku.partition('/')[2]}s", None)
        machine = self.machines.get(self.name_of(sku.removesuffix("/memory")))
        if machine is None:
            return None
        return machine.per_memory_gb_hour if sku.endswith("/memory") else machine.vcpu_hour


def load_sheet(path: Path) -> PriceSheet:
    """Read a price sheet.

    Raises:
        SpecError: It cannot be read, or it is wrong: all mistakes with line and key.
    """
    if not path.is_file():
        raise SpecError(
            f"{path}: cannot be read: there is no such file",
            expected="the price sheet",
            remedy="NORIA_COSTS names it; without that setting it is include/costs.yaml.",
        )
    return load_model(path, PriceSheet)
