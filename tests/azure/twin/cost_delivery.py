"""Runs of an export: what they deliver, and when.

Knobs of `costs`: `parts`, files of a delivery; `late`, "all" or "manifest" for what is not delivered before the knob is
gone and the history is asked for; `twice`, a second delivery of the same run; `status`, how runs end instead of
delivering ("Failed", "DataNotAvailable", "Queued"); `missing`, days that no delivery has; `extra_column`, one that
nobody knows.
"""

from __future__ import annotations

import io
import json
import uuid
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from tests.azure.twin.cost_invoice import Charge, charges

if TYPE_CHECKING:
    from tests.azure.twin.ml.state import Plane, Resource

_UNDER_WAY = ("Queued", "InProgress")


def begin(plane: Plane, scope: str, export: Resource, first: datetime, last: datetime, now: datetime) -> dict[str, Any]:
    """Begin a run, and deliver unless it is to be late."""
    properties = export.body["properties"]
    run = {
        "name": str(uuid.uuid4()),
        "type": "Microsoft.CostManagement/exports/run",
        "properties": {
            "executionType": "OnDemand",
            "status": "InProgress",
            "submittedBy": "noria",
            "submittedTime": _zulu(now),
            "startDate": _zulu(first),
            "endDate": _zulu(last),
            "runSettings": {key: properties[key] for key in ("definition", "deliveryInfo", "format")},
        },
    }
    _bring_forward(plane, scope, export, run, now)
    return run


def history(plane: Plane, scope: str, name: str) -> list[dict[str, Any]]:
    """All runs, the newest first; those that were late deliver now if they may."""
    export = plane.store.get(scope, "exports", name)
    runs = [found.body for found in plane.store.all(f"{scope}/{name}", "runs")]
    for run in runs:
        if export is not None and run["properties"]["status"] in _UNDER_WAY:
            _bring_forward(plane, scope, export, run, datetime.fromisoformat(run["properties"]["submittedTime"]))
    return runs[::-1]


def _bring_forward(plane: Plane, scope: str, export: Resource, run: dict[str, Any], now: datetime) -> None:
    knob, facts = plane.state.knob, run["properties"]
    late = knob("costs", "late")
    status = knob("costs", "status") or (None if knob("costs", "invoice") is not None else "DataNotAvailable")
    if late != "all":
        facts["status"] = status or ("InProgress" if late else "Completed")
    if late != "all" and not status:
        for _ in range(2 if knob("costs", "twice") else 1):
            _deliver(plane, export, run, now, with_manifest=not late)
    plane.store.put(f"{scope}/{export.name}", "runs", run["name"], run)


def _deliver(plane: Plane, export: Resource, run: dict[str, Any], now: datetime, *, with_manifest: bool) -> None:
    properties, facts = export.body["properties"], run["properties"]
    destination = properties["deliveryInfo"]["destination"]
    first, last = (datetime.fromisoformat(facts[key]).date() for key in ("startDate", "endDate"))
    gone = {date.fromisoformat(day) for day in plane.state.knob("costs", "missing", [])}
    found = [charge for charge in charges(plane.state, first, last) if charge.day not in gone]
    run_id = str(uuid.uuid4())
    folder = "/".join(
        (destination["rootFolderPath"], export.name, f"{first:%Y%m%d}-{last:%Y%m%d}", f"{now:%Y%m%d%H%M}", run_id)
    )
    parts, blobs = max(plane.state.knob("costs", "parts", 1), 1), []
    for number in range(parts):
        rows = found[number::parts]
        data = parquet(rows, plane.state.knob("costs", "extra_column"))
        name = f"{folder}/part_{number}_0001.snappy.parquet"
        plane.blobs.write(destination["container"], name, data)
        blobs.append({"blobName": name, "byteCount": len(data), "dataRowCount": len(rows)})
    manifest = {
        "manifestVersion": "2024-04-01",
        "byteCount": sum(blob["byteCount"] for blob in blobs),
        "blobCount": len(blobs),
        "dataRowCount": len(found),
        "exportConfig": {
            "exportName": export.name,
            "dataVersion": properties["definition"]["dataSet"]["configuration"]["dataVersion"],
            "type": properties["definition"]["type"],
            "timeFrame": "Custom",
            "granularity": "Daily",
        },
        "deliveryConfig": {
            "partitionData": properties["partitionData"],
            "dataOverwriteBehavior": properties["dataOverwriteBehavior"],
            "fileFormat": properties["format"],
            "compressionMode": properties["compressionMode"],
        },
        "runInfo": {
            "executionType": facts["executionType"],
            "submittedTime": facts["submittedTime"],
            "runId": run_id,
            "startDate": f"{first}T00:00:00",
            "endDate": f"{last}T00:00:00",
        },
        "blobs": blobs,
    }
    if with_manifest:
        facts["manifestFile"] = f"{folder}/manifest.json"
        plane.blobs.write(destination["container"], facts["manifestFile"], json.dumps(manifest).encode())


def parquet(rows: list[Charge], extra: str | None = None) -> bytes:
    """Charges as Azure exports them: money as doubles, times without a zone, tags as JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    money, moment = pa.float64(), pa.timestamp("ms")
    schema = [
        *((name, money) for name in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")),
        *(
            (name, moment)
            for name in ("ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd")
        ),
        *((name, pa.string()) for name in ("BillingCurrency", "ChargeCategory", "ServiceName", "ResourceId", "Tags")),
        ("x_SkuMeterName", pa.string()),
    ]
    table = pa.Table.from_pylist([_row(charge) for charge in rows], schema=pa.schema(schema))
    if extra:
        table = table.append_column(extra, pa.array(["?"] * len(rows), pa.string()))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="snappy")
    return sink.getvalue()


def _row(charge: Charge) -> dict[str, Any]:
    start, month = datetime.combine(charge.day, time()), datetime.combine(charge.day.replace(day=1), time())
    cost = float(charge.cost)
    return {
        **dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), cost),
        "BillingCurrency": charge.currency,
        "ChargePeriodStart": start,
        "ChargePeriodEnd": start + timedelta(days=1),
        "BillingPeriodStart": month,
        "BillingPeriodEnd": (month + timedelta(days=32)).replace(day=1),
        "ChargeCategory": "Usage",
        "ServiceName": charge.service,
        "ResourceId": charge.resource,
        "Tags": json.dumps(charge.tags),
        "x_SkuMeterName": "vCPU",
    }


def _zulu(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
