"""Estimates the same night: what a day's jobs used, and what the lake kept, times the prices of the sheet.

The rows are in the FOCUS layout. What has no price costs nothing, and says so: its unit price is null.
"""

from __future__ import annotations

import calendar
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from noria.costs import focus
from noria.costs.focus import midnight
from noria.costs.sheet import PriceSheet
from noria.costs.table import METERING, CostTable, open_costs, open_metered
from noria.costs.usage import stored, usage_of
from noria.records import JobUsage
from noria.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

_GIBIBYTE = Decimal(2**30)
"""What Azure bills as a GB: https://azure.github.io/Storage/docs/analytics/azure-storage-data-lake-gen2-billing-faq"""
_HOUR = Decimal(3600)
_PLACES = Decimal(1).scaleb(-18)
_SERVICES = {
    "local": ("Compute", "Local Machine"),
    "synapse": ("Analytics", "Azure Synapse Analytics"),
    "azureml": ("AI and Machine Learning", "Azure Machine Learning"),
}


FINDING_COLUMNS = ("ListUnitPrice", "SkuId", focus.DAY)
"""What `findings` reads."""


class _Charge(NamedTuple):
    """One line: so much of something at a price, or at none that is known."""

    sku: str
    description: str
    quantity: Decimal
    unit: str
    price: Decimal | None
    service: tuple[str, str]


def metered_rows(workspace: Workspace, day: date, sheet: PriceSheet) -> pa.Table:
    """What a day's jobs and files cost by the sheet, so far; in the layout of the table `costs`.

    A job has a row for its vCPU time, one for its memory where the sheet prices that, and rows for its requests.
    """
    import pyarrow as pa

    common = _common(day, sheet.currency)
    rows = [common | row for row in (*_job_rows(workspace, day, sheet), *_storage_rows(workspace, day, sheet))]
    return pa.Table.from_pylist(rows, schema=focus.schema())


def meter_days(workspace: Workspace, sheet: PriceSheet, days: Sequence[date]) -> list[date]:
    """Bring `costs` up to date where no invoice stands, and then `metered`; once more changes nothing.

    Nights take what stands in `metered` for done, so it is written last: whoever is killed between both does it again.

    Returns:
        Days that were written: those whose use or prices are others than before.

    Raises:
        StorageError: A table cannot be read or written.
    """
    written: list[date] = []
    tables = (open_costs(workspace), open_metered(workspace))
    for day in days:
        rows = metered_rows(workspace, day, sheet)
        brought = [_bring_up(table, workspace, day, rows) for table in tables]
        if any(brought):
            written.append(day)
    return written


def price_jobs(jobs: Iterable[JobUsage], sheet: PriceSheet, workspace: Workspace) -> tuple[Decimal, tuple[str, ...]]:
    """What jobs cost by the sheet, and what they used that has no price in it; what is kept in the lake is left out."""
    charges = [charge for job in jobs for charge in _charges(job, sheet, _lake_service(workspace))]
    cost = sum((charge.quantity * (charge.price or 0) for charge in charges), Decimal(0))
    return cost, tuple(sorted({charge.sku for charge in charges if charge.price is None}))


def findings(rows: pa.Table) -> list[str]:
    """What somebody should see to: what was used and has no price.

    Args:
        rows: Estimates, with the columns `FINDING_COLUMNS`.
    """
    import pyarrow.compute as pc

    unpriced = rows.filter(pc.is_null(rows["ListUnitPrice"])).select(["SkuId", focus.DAY])
    if not unpriced.num_rows:
        return []
    names = ", ".join(sorted(pc.unique(unpriced["SkuId"]).to_pylist()))
    first = pc.min(unpriced[focus.DAY]).as_py()
    remedy = f"add it to the price sheet and run export_costs with --since {first}"
    return [f"No price for {names} since {first}: its use costs nothing in the estimates; {remedy}."]


def _bring_up(table: CostTable, workspace: Workspace, day: date, rows: pa.Table) -> bool:
    """Write a day's estimates unless the same stand, or an invoice does."""
    before = table.read(day, day + timedelta(days=1))
    if set(before[focus.ORIGIN].to_pylist()) - {METERING} or _sorted(before).equals(_sorted(rows)):
        return False
    reason = "use or prices have changed" if before.num_rows else "metered"
    now = workspace.clock()
    return bool(table.replace_days([day], rows.to_batches(), origin=METERING, submitted_at=now, reason=reason))


def _sorted(rows: pa.Table) -> pa.Table:
    keys = [("ResourceId", "ascending"), ("SkuId", "ascending")]
    return rows.select(focus.schema().names).sort_by(keys).combine_chunks()


def _job_rows(workspace: Workspace, day: date, sheet: PriceSheet) -> Iterator[dict[str, Any]]:
    for path, job in usage_of(day, workspace.lake):
        machine = sheet.name_of(job.usage.machine)
        own = _of_job(job) | {"ResourceId": path, focus.MACHINE: machine}
        for charge in _charges(job, sheet, _lake_service(workspace)):
            row = own | _priced(charge)
            yield row | _figures(job) if charge.sku == machine else row


def _charges(job: JobUsage, sheet: PriceSheet, lake: tuple[str, str]) -> Iterator[_Charge]:
    usage, machine = job.usage, sheet.name_of(job.usage.machine)
    service = _SERVICES.get(machine.partition("/")[0], ("Compute", machine))
    hours, words = _decimal(usage.vcpu_seconds) / _HOUR, f"vCPU time of {job.stage} on {machine}"
    yield _Charge(machine, words, hours, "vCPU-Hours", sheet.price_of(machine), service)
    memory = f"{machine}/memory"
    if (price := sheet.price_of(memory)) is not None:
        used = _decimal(usage.memory_byte_seconds) / _GIBIBYTE / _HOUR
        yield _Charge(memory, f"Memory of {job.stage} on {machine}", used, "GiB-Hours", price, service)
    for kind, count in (("read", usage.requests - usage.write_requests), ("write", usage.write_requests)):
        if count:
            sku, words = f"requests/{kind}", f"Requests of {job.stage} that {kind}"
            yield _Charge(sku, words, Decimal(count) / 10_000, "10000 Requests", sheet.price_of(sku), lake)


def _storage_rows(workspace: Workspace, day: date, sheet: PriceSheet) -> Iterator[dict[str, Any]]:
    kept = stored(day, workspace.lake)
    if kept is None:
        return
    days = calendar.monthrange(day.year, day.month)[1]
    price = sheet.price_of("storage")
    for pipeline, size in sorted(kept.bytes.items()):
        quantity = Decimal(size) / _GIBIBYTE / days
        charge = _Charge("storage", "Files in the lake", quantity, "GiB-Months", price, _lake_service(workspace))
        tags = {"noria:pipeline": pipeline} if pipeline else {}
        yield _priced(charge) | {
            "ResourceId": f"lake/{pipeline}",
            "ResourceName": pipeline or "lake",
            "ResourceType": "Lake",
            "Tags": json.dumps(tags),
            focus.PIPELINE: pipeline or None,
        }


def _priced(charge: _Charge) -> dict[str, Any]:
    """The columns of a charge. A price that is not known makes no cost, but leaves the unit price null."""
    quantity = charge.quantity.quantize(_PLACES)
    price = None if charge.price is None else charge.price.quantize(_PLACES)
    cost = (quantity * (price or 0)).quantize(_PLACES)
    return {
        **dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), cost),
        **dict.fromkeys(("ListUnitPrice", "ContractedUnitPrice"), price),
        **dict.fromkeys(("PricingQuantity", "ConsumedQuantity"), quantity),
        **dict.fromkeys(("PricingUnit", "ConsumedUnit"), charge.unit),
        "ChargeDescription": charge.description,
        "ServiceCategory": charge.service[0],
        "ServiceName": charge.service[1],
        "SkuId": charge.sku,
    }


def _common(day: date, currency: str) -> dict[str, Any]:
    first = day.replace(day=1)
    return {
        "BillingAccountId": "noria",
        "BillingAccountName": "Noria",
        "BillingCurrency": currency,
        "BillingPeriodStart": midnight(first),
        "BillingPeriodEnd": midnight((first + timedelta(days=31)).replace(day=1)),
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": midnight(day),
        "ChargePeriodEnd": midnight(day + timedelta(days=1)),
        "InvoiceIssuerName": "Noria",
        "PricingCategory": "Standard",
        "ProviderName": "Noria",
        "PublisherName": "Noria",
        focus.DAY: f"{day:%Y-%m-%d}",
        focus.ORIGIN: METERING,
    }


def _of_job(job: JobUsage) -> dict[str, Any]:
    tags = {"noria:pipeline": job.pipeline, "noria:run": job.run_id, "noria:stage": job.stage}
    return {
        "ResourceName": f"{job.pipeline}-{job.run_id}-{job.stage}",
        "ResourceType": "Job",
        "Tags": json.dumps(tags),
        focus.PIPELINE: job.pipeline,
        focus.RUN: job.run_id,
        focus.STAGE: job.stage,
        focus.OUTCOME: job.outcome,
    }


def _figures(job: JobUsage) -> dict[str, Any]:
    paid, used = job.usage.vcpu_seconds, job.usage.cpu_seconds
    idle = min(1.0, max(0.0, 1 - used / paid)) if paid and used else None  # Spark's platform does not tell what it used
    return {focus.VCPU_SECONDS: paid, focus.CPU_SECONDS: used, focus.IDLE_SHARE: idle}


def _lake_service(workspace: Workspace) -> tuple[str, str]:
    is_remote = workspace.lake.root.startswith(("abfs://", "abfss://"))
    return "Storage", "Azure Data Lake Storage" if is_remote else "Local Disk"


def _decimal(value: float) -> Decimal:
    return Decimal(str(value))
