"""What the Query API says of days, where an account type has no FOCUS export; as rows of the same table.

It groups by two things at most, one of them a tag: so a day is asked for by resource and pipeline, and each pipeline by
resource and run. Stages are not told. Where the two answers differ, the first one stands, without runs: amounts matter
more than labels. A day is one question, since over several days a grouped answer may hold the last
one alone: https://learn.microsoft.com/rest/api/cost-management/query/usage.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from noria.azure.cost_client import CostClient, Json
from noria.azure.errors import Service, refused
from noria.costs import focus
from noria.costs.cost_management.connection import open_client
from noria.costs.cost_management.missing import needed, settled
from noria.costs.focus import midnight
from noria.costs.invoices import LATE
from noria.costs.table import QUERY, open_costs
from noria.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)
PIPELINE_TAG, RUN_TAG = "noria:pipeline", "noria:run"
_COST = "PreTaxCost"
"""The one cost that every account type has."""
_LAST_PLACE, _DIGITS = Decimal(1).scaleb(-18), Context(prec=38)
"""Of the table's amounts: the service tells doubles, of which small ones have more places."""
_ROUNDING = Decimal("0.001")
"""By which two answers may differ and be the same."""
_SERVICES = {
    "microsoft.compute": "Virtual Machines",
    "microsoft.containerregistry": "Container Registry",
    "microsoft.insights": "Azure Monitor",
    "microsoft.keyvault": "Key Vault",
    "microsoft.machinelearningservices": "Azure Machine Learning",
    "microsoft.operationalinsights": "Log Analytics",
    "microsoft.storage": "Storage",
    "microsoft.synapse": "Azure Synapse Analytics",
}
"""By the provider in a resource's id; any other is shown as it is."""


@dataclass(frozen=True)
class _Line:
    """One row of an answer."""

    cost: Decimal
    currency: str
    resource: str
    tag: str


def ingest_queried(workspace: Workspace, days: Sequence[date]) -> list[date]:
    """Ask for days that have settled and put the answers into the table, a day at a time; the days that were written.

    The newest comes first, so that a year that is caught up under throttling keeps no report waiting. A day is asked
    for once a night until it is three days old, and again while its month's invoice is being closed, as an export's day
    is. One without any charge is left as it is until then: its charges are not there yet.

    Raises:
        InputError: There is no connection azure_costs.
        NoriaError: The service refused, or throttles for longer than can be waited; days asked for before are written.
    """
    client, now, table = open_client(workspace), workspace.clock().astimezone(UTC), open_costs(workspace)
    stands, written = table.invoiced_days(), list[date]()  # an estimate is no answer
    for day in reversed(settled(days, now)):
        if day in stands and stands[day] >= _settled(day, now):
            continue
        rows = list(_batches(client, day))
        if rows or now >= midnight(day) + LATE:
            written += table.replace_days([day], rows, origin=QUERY, submitted_at=now, reason="asked of the Query API")
    return sorted(written)


def _settled(day: date, now: datetime) -> datetime:
    """Since when an answer must be that has the last word on a day, as far as there is one."""
    return max(needed(day, now), min(midnight(now.date()), midnight(day) + LATE))


def query_days(workspace: Workspace, days: Sequence[date]) -> Iterator[pa.RecordBatch]:
    """What each of the days cost, as rows of the table.

    Raises:
        InputError: There is no connection azure_costs.
        NoriaError: The service refused; see `noria.azure.cost_client`.
    """
    client = open_client(workspace)
    for day in days:
        yield from _batches(client, day)


def _batches(client: CostClient, day: date) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    rows = list(_rows(client, day))
    if rows:
        yield from pa.Table.from_pylist(rows, schema=focus.schema()).to_batches()


def _rows(client: CostClient, day: date) -> Iterator[dict[str, Any]]:
    by_pipeline: dict[str, list[_Line]] = defaultdict(list)
    for line in _lines(client, day, PIPELINE_TAG):
        by_pipeline[line.tag.lower()].append(line)  # names of pipelines are in small letters
    for line in by_pipeline.pop("", []):
        yield _row(day, line, {})
    for pipeline, lines in sorted(by_pipeline.items()):
        # All spellings in one question: it is not known whether the filter tells them apart.
        only = {"tags": {"name": PIPELINE_TAG, "operator": "In", "values": sorted({line.tag for line in lines})}}
        by_run = list(_lines(client, day, RUN_TAG, only))
        if not _agree(lines, by_run):
            log.warning("%s: asked by run, pipeline %s cost something else; its runs are not told", day, pipeline)
            by_run = [replace(line, tag="") for line in lines]
        for line in by_run:
            yield _row(day, line, {PIPELINE_TAG: pipeline} | ({RUN_TAG: line.tag} if line.tag else {}))


def _agree(some: Sequence[_Line], others: Sequence[_Line]) -> bool:
    """Whether two answers add up to the same, in each currency."""
    differences: dict[str, Decimal] = defaultdict(Decimal)
    for line in some:
        differences[line.currency] += line.cost
    for line in others:
        differences[line.currency] -= line.cost
    return all(abs(difference) <= _ROUNDING for difference in differences.values())


def _lines(client: CostClient, day: date, tag: str, only: Json | None = None) -> Iterator[_Line]:
    """One question, and all pages of its answer."""
    definition = {
        "type": "ActualCost",
        "timeframe": "Custom",
        "timePeriod": {"from": f"{day}T00:00:00Z", "to": f"{day}T23:59:59Z"},
        "dataset": {
            "granularity": "Daily",
            "aggregation": {"totalCost": {"name": _COST, "function": "Sum"}},
            "grouping": [{"type": "Dimension", "name": "ResourceId"}, {"type": "TagKey", "name": tag}],
            **({"filter": only} if only else {}),
        },
    }
    for page in client.query(definition):
        names = [str(column["name"]).lower() for column in page.get("columns") or []]
        cost = next((name for name in ("totalcost", _COST.lower()) if name in names), "")
        if lacking := {"usagedate", "resourceid", "tagvalue", "currency"} - set(names) or (not cost and {_COST}):
            raise refused(
                client.resource, Service.COSTS, message=f"an answer without {', '.join(sorted(lacking))}: {names}"
            )
        for values in page.get("rows") or []:
            row = dict(zip(names, values, strict=True))
            if str(row["usagedate"])[:10].replace("-", "") == f"{day:%Y%m%d}":
                currency = row["currency"].strip().upper()
                yield _Line(_amount(client, row[cost]), currency, row["resourceid"] or "", row["tagvalue"] or "")


def _amount(client: CostClient, value: object) -> Decimal:
    """A cost in the places that the table has."""
    with contextlib.suppress(InvalidOperation):
        amount = Decimal(str(value)).quantize(_LAST_PLACE, context=_DIGITS)
        if amount.is_finite():
            return amount
    raise refused(client.resource, Service.COSTS, message=f"an answer with a cost of {value!r}")


def _row(day: date, line: _Line, tags: dict[str, str]) -> dict[str, Any]:
    start, month = midnight(day), day.replace(day=1)
    parts = line.resource.strip("/").split("/")
    provider = parts[parts.index("providers") + 1].lower() if "providers" in parts[:-1] else ""
    return {
        **dict.fromkeys(("BilledCost", "EffectiveCost"), line.cost),
        "BillingCurrency": line.currency,
        "BillingPeriodStart": midnight(month),
        "BillingPeriodEnd": midnight((month + timedelta(days=32)).replace(day=1)),
        "ChargePeriodStart": start,
        "ChargePeriodEnd": start + timedelta(days=1),
        "ChargeCategory": "Usage",
        "ProviderName": "Microsoft",
        "PublisherName": "Microsoft",
        "InvoiceIssuerName": "Microsoft",
        "ResourceId": line.resource or None,
        "ResourceName": parts[-1] or None,
        "ServiceName": _SERVICES.get(provider, provider or "Other"),
        "SubAccountId": "/".join(["", *parts[:2]]) if parts[0].lower() == "subscriptions" else None,
        "Tags": json.dumps(tags, sort_keys=True),
        focus.DAY: str(day),
        focus.ORIGIN: QUERY,
        focus.PIPELINE: tags.get(PIPELINE_TAG),
        focus.RUN: tags.get(RUN_TAG),
    }
