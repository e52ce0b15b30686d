"""The Query API: sums of the invoice by day, resource and one tag, in pages.

Knob of `costs`: `page`, rows in a page.
"""

from __future__ import annotations

import urllib.parse
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.azure.twin.cost_invoice import Charge, charges

if TYPE_CHECKING:
    from tests.azure.twin.ml.state import Answer, Call, Plane

MOST_GROUPS = MOST_AGGREGATIONS = 2
_DIMENSIONS = {"ResourceId": lambda charge: charge.resource, "ServiceName": lambda charge: charge.service}
_PAGE = 1000


def answer(plane: Plane, call: Call) -> Answer:
    """A page of sums."""
    from tests.azure.twin.ml.state import Answer

    definition, dataset = call.body, call.body["dataset"]
    _check(definition)
    first, last = (datetime.fromisoformat(definition["timePeriod"][key]).date() for key in ("from", "to"))
    (alias,) = dataset["aggregation"]
    sums: dict[tuple[Any, ...], Decimal] = defaultdict(Decimal)
    for charge in charges(plane.state, first, last):
        if _passes(charge, dataset.get("filter")):
            keys = [value for group in dataset["grouping"] for value in _values(charge, group)]
            sums[(int(f"{charge.day:%Y%m%d}"), *keys, charge.currency)] += charge.cost
    rows = [[float(cost), *key] for key, cost in sorted(sums.items())]
    names = [name for group in dataset["grouping"] for name in _columns(group)]
    columns = [
        (alias, "Number"),
        ("UsageDate", "Number"),
        *((name, "String") for name in names),
        ("Currency", "String"),
    ]
    size = int(plane.state.knob("costs", "page", _PAGE))
    start = int(call.query.get("$skiptoken", 0))
    link = None
    if start + size < len(rows):
        query = urllib.parse.urlencode({**call.query, "$skiptoken": start + size})
        link = f"{call.root}{call.path}?{query}"
    properties = {
        "nextLink": link,
        "columns": [{"name": name, "type": kind} for name, kind in columns],
        "rows": rows[start : start + size],
    }
    return Answer({"id": call.path, "type": "Microsoft.CostManagement/query", "properties": properties})


def _check(definition: dict[str, Any]) -> None:
    dataset = definition["dataset"]
    groups, aggregations = dataset.get("grouping") or [], dataset.get("aggregation") or {}
    if len(groups) > MOST_GROUPS or len(aggregations) > MOST_AGGREGATIONS:
        raise _invalid("Query can have up to 2 group by clauses and up to 2 aggregation clauses.")
    if sum(group["type"] == "TagKey" for group in groups) > 1:
        raise _invalid("Query can be grouped by one tag.")
    if unknown := {group["name"] for group in groups if group["type"] == "Dimension"} - _DIMENSIONS.keys():
        raise _invalid(f"Invalid dataset grouping: {sorted(unknown)}")
    if {value["name"] for value in aggregations.values()} != {"PreTaxCost"}:
        raise _invalid("Invalid dataset aggregation.")
    if definition["timeframe"] == "Custom":
        first, last = (datetime.fromisoformat(definition["timePeriod"][key]) for key in ("from", "to"))
        if not timedelta() <= last - first <= timedelta(days=31):
            raise _invalid("The time period for daily granularity is 31 days at most.")


def _passes(charge: Charge, only: dict[str, Any] | None) -> bool:
    return only is None or charge.tags.get(only["tags"]["name"], "") in only["tags"]["values"]


def _columns(group: dict[str, str]) -> list[str]:
    return ["TagKey", "TagValue"] if group["type"] == "TagKey" else [group["name"]]


def _values(charge: Charge, group: dict[str, str]) -> list[str]:
    if group["type"] != "TagKey":
        return [_DIMENSIONS[group["name"]](charge)]
    value = charge.tags.get(group["name"], "")
    return [group["name"] if value else "", value]


def _invalid(said: str) -> Exception:
    from tests.azure.twin.ml.state import RefusalError

    return RefusalError(400, "BadRequest", f"Invalid query definition: {said}")
