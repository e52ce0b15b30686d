"""Invoices as Cost Management exports them, from a seed: FOCUS and columns of Azure's own, in parts with a manifest."""

from __future__ import annotations

import calendar
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

EXPORT = "noria-costs"
_ROWS_PER_GROUP = 100_000
_RESOURCES, _SKUS, _GROUPS, _TAG_SETS = 5_000, 400, 60, 300
_PIPELINES = ("students", "taxi", "churn", "energy", "fraud")
_STAGES = ("ingest", "validate", "explore", "train", "promote")
_NORIA_SHARE = 0.2
"""Of the rows, so many are of what Noria has created, and bear its tags."""
_MEAN_COST = 0.8
_DECIMALS = 10
"""Of an amount, as Azure rounds them."""


@dataclass(frozen=True)
class Month:
    """What one run of an export delivers.

    Attributes:
        first: The month's first day.
        rows: How many charges.
        currency: What they are billed in.
        seed: The same seed gives the same charges.
        parts: Files.
        doubles: Amounts as doubles, not as decimals.
    """

    first: date
    rows: int
    currency: str = "EUR"
    seed: int = 0
    parts: int = 2
    doubles: bool = False

    @property
    def last(self) -> date:
        """Its last day."""
        return self.first.replace(day=calendar.monthrange(self.first.year, self.first.month)[1])


def deliver(root: Path, month: Month, submitted_at: datetime) -> Path:
    """Write a month's charges below `root`, as an export does it.

    Args:
        root: Folder that the export delivers into.
        month: What is delivered.
        submitted_at: When the run was submitted.

    Returns:
        The manifest.
    """
    import numpy as np
    import pyarrow.parquet as pq

    random = np.random.default_rng([month.seed, month.first.toordinal()])
    run = str(uuid.UUID(bytes=random.bytes(16), version=4))
    folder = run_folder(root, month.first, month.last, run)
    folder.mkdir(parents=True)
    counts = [len(part) for part in np.array_split(np.arange(month.rows), month.parts)]
    for number, count in enumerate(counts):
        table = _charges(month, count, random)
        file = folder / part_name(number)
        pq.write_table(table, file, compression="snappy", row_group_size=_ROWS_PER_GROUP, store_schema=False)
    return write_manifest(folder, (month.first, month.last), submitted_at, counts)


def run_folder(root: Path, first: date, last: date, run: str) -> Path:
    """Where a run of the export delivers into."""
    return root / EXPORT / f"{first:%Y%m%d}-{last:%Y%m%d}" / run


def write_manifest(folder: Path, days: tuple[date, date], submitted_at: datetime, rows: Sequence[int]) -> Path:
    """Write the manifest of the parts in a folder, which is what makes a delivery of them.

    Args:
        folder: As `run_folder` names it, with the parts, named as `part_name` says.
        days: First and last day that were asked for.
        submitted_at: When the run was submitted.
        rows: Of each part.
    """
    parts = [folder / part_name(number) for number in range(len(rows))]
    blobs = [
        {
            "blobName": f"exports/costs/{'/'.join(part.parts[-4:])}",
            "byteCount": part.stat().st_size,
            "dataRowCount": count,
        }
        for part, count in zip(parts, rows, strict=True)
    ]
    manifest = {
        "manifestVersion": "2024-04-01",
        "byteCount": sum(part.stat().st_size for part in parts),
        "blobCount": len(blobs),
        "dataRowCount": sum(rows),
        "exportConfig": {
            "exportName": EXPORT,
            "dataVersion": "1.0r2",
            "type": "FocusCost",
            "timeFrame": "Custom",
            "granularity": "Daily",
        },
        "deliveryConfig": {
            "partitionData": True,
            "dataOverwriteBehavior": "CreateNewReport",
            "fileFormat": "Parquet",
            "compressionMode": "Snappy",
        },
        "runInfo": {
            "executionType": "OnDemand",
            "submittedTime": f"{submitted_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
            "runId": folder.name,
            "startDate": f"{days[0]}T00:00:00",
            "endDate": f"{days[1]}T00:00:00",
        },
        "blobs": blobs,
    }
    file = folder / "manifest.json"
    file.write_text(json.dumps(manifest, indent=1))
    return file


def part_name(number: int) -> str:
    """Name of a part's file."""
    return f"part_{number}_0001.snappy.parquet"


def _charges(month: Month, rows: int, random: np.random.Generator) -> pa.Table:
    """Charges of a month in no order, with the columns that Azure delivers."""
    import pyarrow as pa

    days = random.integers(0, month.last.day, rows)
    pick = {
        "day": days,
        "resource": random.integers(0, _RESOURCES, rows),
        "sku": random.zipf(1.3, rows) % _SKUS,
        "noria": days * 25 + random.integers(0, 25, rows),
    }
    columns = {**_texts(month, pick, random), **_times(month, days), **_amounts(month, rows, random)}
    return pa.table({name: columns[name] for name in sorted(columns)})


def _texts(month: Month, pick: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    """Each text by what it depends on: the resource, or what is sold."""
    import numpy as np

    resource, sku = pick["resource"], pick["sku"]
    columns = {name: _named(resource % count, template, count) for name, (template, count) in _BY_RESOURCE.items()}
    columns |= {name: _named(sku % count, template, count) for name, (template, count) in _BY_SKU.items()}
    nothing = np.zeros(len(resource), np.int32)
    columns |= {name: _named(nothing, value, 1) for name, value in _CONSTANT.items()}
    columns["BillingCurrency"] = columns["x_PricingCurrency"] = _named(nothing, month.currency, 1)
    columns |= {name: _empty(len(resource)) for name in _EMPTY}
    is_ours = random.random(len(resource)) < _NORIA_SHARE
    tags = [
        json.dumps({"team": f"team-{n % 12}", "env": ("prod", "dev")[n % 2], "app": f"app-{n}"})
        for n in range(_TAG_SETS)
    ]
    ours = [_tags(month, number) for number in range(month.last.day * 25)]
    columns["Tags"] = _dictionary(np.where(is_ours, pick["noria"] + _TAG_SETS, resource % _TAG_SETS), [*tags, *ours])
    return columns


def _tags(month: Month, number: int) -> str:
    day, rest = divmod(number, 25)
    pipeline, stage = _PIPELINES[rest // 5], _STAGES[rest % 5]
    run = f"{month.first + timedelta(days=day):%Y%m%d}T020000Z-{rest // 5:06x}"
    return json.dumps({"noria:pipeline": pipeline, "noria:run": run, "noria:stage": stage})


def _times(month: Month, days: np.ndarray[Any, Any]) -> dict[str, Any]:
    import numpy as np
    import pyarrow as pa

    kind = pa.timestamp("us", "UTC")
    start = np.datetime64(month.first, "us")
    begin = start + days.astype("timedelta64[D]")
    end = np.datetime64(month.last, "us") + np.timedelta64(1, "D")
    return {
        "ChargePeriodStart": pa.array(begin).cast(kind),
        "ChargePeriodEnd": pa.array(begin + np.timedelta64(1, "D")).cast(kind),
        "BillingPeriodStart": pa.array(np.full(len(days), start)).cast(kind),
        "BillingPeriodEnd": pa.array(np.full(len(days), end)).cast(kind),
    }


def _amounts(month: Month, rows: int, random: np.random.Generator) -> dict[str, Any]:
    import numpy as np

    price = np.round(random.gamma(0.7, 0.1, rows) + 1e-6, 6)
    quantity = np.round(random.gamma(0.5, _MEAN_COST / 0.035, rows), 4)
    cost = price * quantity
    values = {
        "BilledCost": cost,
        "EffectiveCost": cost,
        "ContractedCost": cost,
        "ListCost": cost * 1.08,
        "ContractedUnitPrice": price,
        "ListUnitPrice": price * 1.08,
        "x_EffectiveUnitPrice": price,
        "x_BilledUnitPrice": price,
        "x_BilledCostInUsd": cost * 1.1,
        "x_BillingExchangeRate": np.full(rows, 1.1),
        "x_PricingBlockSize": np.full(rows, 1.0),
        "ConsumedQuantity": quantity,
        "PricingQuantity": quantity,
    }
    return {name: _money(value, month.doubles) for name, value in values.items()}


def _money(values: np.ndarray[Any, Any], doubles: bool) -> pa.Array:
    """Amounts rounded and exact as decimals; as doubles with all their digits, which costs most to take in."""
    import numpy as np
    import pyarrow as pa

    if doubles:
        return pa.array(values)
    digits = np.round(values * 10**_DECIMALS).astype(np.int64)
    words = np.stack([digits, digits >> 63], axis=1)
    exact = pa.Array.from_buffers(pa.decimal128(38, _DECIMALS), len(digits), [None, pa.py_buffer(words.tobytes())])
    return exact.cast(pa.decimal128(38, 18))


def _named(numbers: np.ndarray[Any, Any], template: str, count: int) -> pa.Array:
    return _dictionary(numbers, [template.format(n=number) for number in range(count)])


def _dictionary(numbers: np.ndarray[Any, Any], values: Sequence[str]) -> pa.Array:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(numbers.astype("int32")), pa.array(values))


def _empty(rows: int) -> pa.Array:
    import pyarrow as pa

    return pa.nulls(rows, pa.string())


_SUBSCRIPTION = "/subscriptions/0000000{n}-1111-2222-3333-444444444444"
_BY_RESOURCE = {
    "ResourceId": (
        "/subscriptions/00000001-1111-2222-3333-444444444444/resourcegroups/rg-{n}/providers/microsoft.compute/"
        "virtualmachines/machine-{n}",
        _RESOURCES,
    ),
    "ResourceName": ("machine-{n}", _RESOURCES),
    "ResourceType": ("Resource type {n}", 40),
    "RegionId": ("region{n}", 6),
    "RegionName": ("Region {n}", 6),
    "SubAccountId": (_SUBSCRIPTION, 8),
    "SubAccountName": ("subscription-{n}", 8),
    "x_ResourceGroupName": ("rg-{n}", _GROUPS),
    "x_ResourceType": ("microsoft.kind/things{n}", 40),
    "x_CostCenter": ("cc-{n}", 12),
}
"""Text with the number {n}, and how many there are."""
_BY_SKU = {
    "ChargeDescription": ("Meter {n} of a service, per hour", _SKUS),
    "ConsumedUnit": ("Unit {n}", 12),
    "PricingUnit": ("{n} Hours", 12),
    "ServiceCategory": ("Category {n}", 12),
    "ServiceName": ("Service {n}", 40),
    "SkuId": ("DZH318Z0-{n}", _SKUS),
    "SkuPriceId": ("DZH318Z0_{n}_price", _SKUS),
    "x_SkuMeterId": ("00000000-0000-0000-0000-{n:012}", _SKUS),
    "x_SkuMeterName": ("Meter {n}", _SKUS),
    "x_SkuMeterCategory": ("Meters {n}", 40),
    "x_SkuMeterSubcategory": ("Kind {n}", 120),
    "x_SkuRegion": ("EU Region {n}", 6),
}
_CONSTANT = {
    "BillingAccountId": "/providers/microsoft.billing/billingaccounts/1234567/billingprofiles/ABCD",
    "BillingAccountName": "An account",
    "BillingAccountType": "Billing Profile",
    "ChargeCategory": "Usage",
    "ChargeFrequency": "Usage-Based",
    "InvoiceIssuerName": "Microsoft",
    "PricingCategory": "Standard",
    "ProviderName": "Microsoft",
    "PublisherName": "Microsoft",
    "SubAccountType": "Subscription",
    "x_PublisherCategory": "Cloud Provider",
}
_EMPTY = (
    "AvailabilityZone",
    "ChargeClass",
    "CommitmentDiscountCategory",
    "CommitmentDiscountId",
    "CommitmentDiscountName",
    "CommitmentDiscountStatus",
    "CommitmentDiscountType",
)
