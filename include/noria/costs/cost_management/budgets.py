"""Azure's budgets, kept in line with the specs: one for each pipeline with a bound per month, and one for all together.

They are alarms: Azure mails at 50, 80 and 100 %, spent and forecast, and stops nothing. It has none for a day.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from noria.azure.cost_client import CostClient, Json
from noria.costs.cost_management.connection import open_client
from noria.costs.cost_management.query import PIPELINE_TAG
from noria.pipeline import Pipeline, find_pipelines
from noria.workspace import Workspace

if TYPE_CHECKING:
    from noria.costs.sheet import PriceSheet

log = logging.getLogger(__name__)

PREFIX, TOTAL = "noria-pipeline-", "noria-total"
"""How ours are called; no other budget is touched, and `noria-dev-...` is that of infra/."""
THRESHOLDS = (50, 80, 100)
_LONGEST_NAME = 63


def sync_budgets(workspace: Workspace, pipelines: Sequence[Pipeline], sheet: PriceSheet) -> list[str]:
    """Make, mend and remove budgets; what was done, in words, nothing where all is as wanted.

    Args:
        workspace: Whose connection is used, and where pipelines are.
        pipelines: Those that can be read; the budget of one that has a folder but is not among them stays.
        sheet: Of it the bound on all together, and whom to mail.

    Raises:
        InputError: There is no connection azure_costs.
        NoriaError: The service refused; see `noria.azure.cost_client`.
    """
    client, now = open_client(workspace), workspace.clock().astimezone(UTC)
    wanted = dict(_wanted(pipelines, sheet))
    kept = {str(budget["name"]).lower(): budget for budget in client.budgets() if _is_ours(budget)}
    done = [said for name, body in wanted.items() if (said := _keep(client, name, body, kept.get(name), now))]
    unread = set(find_pipelines(workspace.settings.pipelines)) - {pipeline.name for pipeline in pipelines}
    for name in sorted(kept.keys() - wanted.keys() - {budget_name(pipeline) for pipeline in unread}):
        client.delete_budget(str(kept[name]["name"]))
        done.append(f"budget {name} is removed")
    for said in done:
        log.info("%s", said)
    return done


def budget_name(pipeline: str) -> str:
    """Of a pipeline's budget; a name that is too long for Azure ends with a hash of it."""
    name = f"{PREFIX}{pipeline}"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 9]}-{hashlib.sha256(pipeline.encode()).hexdigest()[:8]}"


def _wanted(pipelines: Sequence[Pipeline], sheet: PriceSheet) -> Iterator[tuple[str, Json]]:
    """Budgets by name. One without anybody to mail is none: Azure refuses it."""
    for pipeline in pipelines:
        if pipeline.budget.per_month is not None and pipeline.alerts.emails:
            only = {"tags": {"name": PIPELINE_TAG, "operator": "In", "values": [pipeline.name]}}
            yield budget_name(pipeline.name), _body(pipeline.budget.per_month, pipeline.alerts.emails, only)
    emails = sheet.report.emails or sorted({mail for pipeline in pipelines for mail in pipeline.alerts.emails})
    if sheet.total.per_month is not None and emails:
        yield TOTAL, _body(sheet.total.per_month, emails, None)


def _body(amount: float, emails: Sequence[str], only: Json | None) -> Json:
    properties: dict[str, Any] = {
        "category": "Cost",
        "amount": float(amount),
        "timeGrain": "Monthly",
        "notifications": {
            f"{kind.lower()}-{threshold}": {
                "enabled": True,
                "operator": "GreaterThanOrEqualTo",
                "threshold": float(threshold),
                "thresholdType": kind,
                "contactEmails": list(emails),
            }
            for kind in ("Actual", "Forecasted")
            for threshold in THRESHOLDS
        },
    }
    if only:
        properties["filter"] = only
    return {"properties": properties}


def _keep(client: CostClient, name: str, body: Json, kept: Json | None, now: datetime) -> str:
    """Send a budget that is not there or differs; what was done."""
    if kept is not None and _same(kept, body):
        return ""
    period = {"startDate": f"{now:%Y-%m}-01T00:00:00Z"}
    if kept is not None:  # a budget's beginning cannot be changed
        period = {key: value for key, value in kept["properties"]["timePeriod"].items() if value}
    sent = {"properties": body["properties"] | {"timePeriod": period}}
    if kept is not None and kept.get("eTag"):
        sent["eTag"] = kept["eTag"]
    client.put_budget(name, sent)
    return f"budget {name} is {'changed' if kept else 'made'}: {body['properties']['amount']:g} a month"


def _same(kept: Json, body: Json) -> bool:
    """Whether a budget is as wanted, whatever the service adds to it and however it spells its words."""
    have, want = kept["properties"], body["properties"]
    return bool(_plain(have) == _plain(want))


def _plain(properties: Json) -> Any:
    notifications = properties.get("notifications") or {}
    facts = ("enabled", "operator", "threshold", "thresholdType", "contactEmails")
    filters = properties.get("filter") or {}
    return (
        *(_lower(properties.get(key)) for key in ("category", "amount", "timeGrain")),
        _lower({kind: only for kind, only in filters.items() if only}),
        {key.lower(): [_lower(found.get(fact)) for fact in facts] for key, found in notifications.items()},
    )


def _lower(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.lower(): _lower(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return sorted(_lower(inner) for inner in value)
    return value.lower() if isinstance(value, str) else value


def _is_ours(budget: Json) -> bool:
    name = str(budget["name"]).lower()
    return name == TOTAL or name.startswith(PREFIX)
