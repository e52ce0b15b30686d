"""Invoices as an export delivers them, charge by charge."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from noria.bench.costs_invoices import part_name, run_folder, write_manifest
from noria.costs import focus

MONEY = pa.decimal128(38, 18)
TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(focus.DECIMALS, MONEY),
    **dict.fromkeys(focus.TIMES, pa.timestamp("us", "UTC")),
}


def charge(day: date, cost: str = "1", currency: str = "EUR", **more: Any) -> dict[str, Any]:
    """One charge of a day (UTC); `more` are further columns, or others in place of these."""
    start = datetime.combine(day, time(), UTC)
    return {
        "BilledCost": Decimal(cost),
        "EffectiveCost": Decimal(cost),
        "BillingCurrency": currency,
        "ChargePeriodStart": start,
        "ChargePeriodEnd": start + timedelta(days=1),
        "ServiceName": "Virtual Machines",
        "Tags": '{"noria:pipeline":"students","noria:run":"r1","noria:stage":"train"}',
        **more,
    }


def deliver(
    root: Path,
    charges: Sequence[Mapping[str, Any]],
    submitted_at: datetime,
    days: tuple[date, date] | None = None,
    *,
    parts: int = 1,
    types: Mapping[str, pa.DataType] | None = None,
) -> Path:
    """Write a delivery; its manifest.

    Args:
        root: Folder that the export delivers into.
        charges: Its rows; of a part, the columns are those of its charges.
        submitted_at: When the run was submitted.
        days: First and last day that were asked for; else those of the charges.
        parts: How many files they are spread over.
        types: Of columns, where they are not as FOCUS has them.
    """
    if days is None:
        starts = [row["ChargePeriodStart"].date() for row in charges]
        days = min(starts), max(starts)
    folder = run_folder(root, *days, str(uuid.uuid4()))
    folder.mkdir(parents=True)
    spread = [list(charges[number::parts]) for number in range(parts)] if charges else []
    for number, rows in enumerate(spread):
        names = sorted({name for row in rows for name in row})
        kinds = {**TYPES, **(types or {})}
        arrays = [pa.array([row.get(name) for row in rows], kinds.get(name)) for name in names]
        pq.write_table(pa.table(arrays, names), folder / part_name(number))
    return write_manifest(folder, days, submitted_at, [len(rows) for rows in spread])


def change(manifest: Path, **keys: Any) -> None:
    """Change keys of a manifest; one such as `runInfo.startDate` is written `runInfo__startDate`."""
    facts = json.loads(manifest.read_text())
    for path, value in keys.items():
        *folders, last = path.split("__")
        place = facts
        for folder in folders:
            place = place[int(folder)] if folder.isdigit() else place[folder]
        place[last] = value
    manifest.write_text(json.dumps(facts))
