"""Charges by hand: metered ones as a price sheet makes them, invoiced ones as Cost Management writes them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from noria.costs import focus
from noria.costs.sheet import PriceSheet
from noria.costs.table import open_costs, open_metered
from noria.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

DAY = date(2026, 11, 20)
NODE = "azureml/Standard_D4s_v3"
"""A node of 4 vCPUs at 0.40 an hour, in `SHEET`."""
_PRICED = {"source": "a test", "date": date(2026, 11, 1)}
SHEET = PriceSheet.model_validate(
    {
        "currency": "USD",
        "machines": {
            "local": {"per_vcpu_hour": "0.05", **_PRICED},
            "synapse": {"per_vcpu_hour": "0.10", **_PRICED},
            NODE: {"per_node_hour": "0.40", "vcpus": 4, "memory_gb": 16, **_PRICED},
        },
        "storage": {"per_gb_month": "0.02", **_PRICED},
        "requests": {"per_10000_reads": "0.005", "per_10000_writes": "0.05", **_PRICED},
    }
)
_SERVICES = {"local": "Local Machine", "synapse": "Azure Synapse Analytics", NODE: "Azure Machine Learning"}


def estimate(machine: str, hours: str, cost: str, pipeline: str | None = "students", **columns: Any) -> dict[str, Any]:
    """vCPU hours of a machine."""
    service = {"ServiceName": _SERVICES[machine], focus.MACHINE: machine}
    return _row(cost, hours, "vCPU-Hours", pipeline, "metering", **{**service, **columns})


def bill(
    service: str, quantity: str, unit: str, cost: str, pipeline: str | None = None, **columns: Any
) -> dict[str, Any]:
    """A line of an invoice."""
    return _row(cost, quantity, unit, pipeline, "invoice", **{"ServiceName": service, **columns})


def nodes(hours: str, cost: str, pipeline: str | None = "students", **columns: Any) -> dict[str, Any]:
    """Hours of the node as an invoice has them."""
    described = {"ChargeDescription": "Virtual Machines Dsv3 Series - D4s v3 - EU West"}
    return bill("Virtual Machines", hours, "1 Hour", cost, pipeline, **{**described, **columns})


def kept(months: str, cost: str, pipeline: str | None = "students", **columns: Any) -> dict[str, Any]:
    """Gigabyte-months in the lake, as they are metered."""
    service = {"ServiceName": "Azure Data Lake Storage", "ServiceCategory": "Storage"}
    return _row(cost, months, "GiB-Months", pipeline, "metering", **{**service, **columns})


def _row(cost: str, quantity: str, unit: str, pipeline: str | None, origin: str, **columns: Any) -> dict[str, Any]:
    own = columns.pop("day", DAY)
    begin = datetime(own.year, own.month, own.day, tzinfo=UTC)
    return {
        **dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), Decimal(cost)),
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargePeriodStart": begin,
        "ChargePeriodEnd": begin + timedelta(days=1),
        "ConsumedQuantity": Decimal(quantity),
        "ConsumedUnit": unit,
        **({"ListUnitPrice": Decimal(1), "SkuId": columns.get(focus.MACHINE)} if origin == "metering" else {}),
        focus.DAY: own.isoformat(),
        focus.ORIGIN: origin,
        focus.PIPELINE: pipeline,
        **columns,
    }


def table(*rows: dict[str, Any]) -> pa.Table:
    """Rows in the layout of the table `costs`."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=focus.schema())


def write(workspace: Workspace, *rows: dict[str, Any]) -> None:
    """Leave rows in the tables of a lake: estimates in both, invoices in `costs`, where they replace estimates."""
    for origin in ("metering", "invoice"):
        own = [row for row in rows if row[focus.ORIGIN] == origin]
        days = sorted({date.fromisoformat(row[focus.DAY]) for row in own})
        for target in (open_costs(workspace), open_metered(workspace))[: 2 if origin == "metering" else 1]:
            if days:
                target.replace_days(
                    days,
                    table(*own).to_batches(),
                    origin=origin,
                    submitted_at=datetime(2026, 11, 21, 3, tzinfo=UTC),
                    reason="a test",
                )
