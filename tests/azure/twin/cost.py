"""Cost Management: exports that deliver FOCUS into the storage account, the Query API, budgets.

Every body is checked against the SDK's models, and against what the service's documentation says beside them.

Knobs of `costs`: `invoice`, the charges that there are (see cost_invoice.py); `now`, the service's own time;
`agreement`, "WebDirect" or "individual" for account types without an export; `storage_forbidden`, who makes an export
may not write the account; `actions`, what the caller may do; and those of cost_delivery.py.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from starlette.routing import Route

from tests.azure.twin import cost_budgets, cost_delivery, cost_query
from tests.azure.twin.ml.state import Answer, Call, Plane, RefusalError

_SCOPES = ("/subscriptions/{subscription}", "/subscriptions/{subscription}/resourceGroups/{group}")


def routes(plane: Plane) -> list[Route]:
    found = []
    for scope in _SCOPES:
        provider = f"{scope}/providers/Microsoft.CostManagement"
        export = f"{provider}/exports/{{name}}"
        found += [
            plane.absolute_route(export, {"GET": _get, "PUT": (_put, "cost.Export")}),
            plane.absolute_route(f"{export}/run", {"POST": _run}),
            plane.absolute_route(f"{export}/runHistory", {"GET": _history}),
            plane.absolute_route(f"{scope}/providers/Microsoft.Authorization/permissions", {"GET": _permissions}),
            plane.absolute_route(f"{provider}/query", {"POST": (cost_query.answer, "cost.QueryDefinition")}),
            plane.absolute_route(f"{provider}/budgets", {"GET": cost_budgets.every}),
            plane.absolute_route(
                f"{provider}/budgets/{{name}}",
                {"GET": cost_budgets.one, "PUT": (cost_budgets.put, "cost.Budget"), "DELETE": cost_budgets.delete},
            ),
        ]
    return found


def scope_of(call: Call) -> str:
    """What is asked about; names differ in case alone."""
    return call.path.partition("/providers/Microsoft.CostManagement/")[0].lower()


def now(plane: Plane) -> datetime:
    """The service's time."""
    told = plane.state.knob("costs", "now")
    return datetime.fromisoformat(told) if told else datetime.now(UTC)


def _permissions(plane: Plane, _call: Call) -> Answer:
    """What the caller may do: the actions of the role Cost Management Contributor, unless a knob says others."""
    actions = plane.state.knob("costs", "actions", ["Microsoft.CostManagement/*", "Microsoft.Consumption/*"])
    return Answer({"value": [{"actions": actions, "notActions": [], "dataActions": [], "notDataActions": []}]})


def _get(plane: Plane, call: Call) -> Answer:
    found = plane.store.get(scope_of(call), "exports", call["name"])
    if found is None:
        raise RefusalError(404, "NotFound", f"Export '{call['name']}' was not found.")
    return Answer(found.body | {"name": found.name, "id": call.path, "type": "Microsoft.CostManagement/exports"})


def _put(plane: Plane, call: Call) -> Answer:
    _check_export(plane, call.body["properties"])
    with plane.store.lock():
        kept = plane.store.get(scope_of(call), "exports", call["name"])
        check_tag(kept.body if kept else None, call.body)
        body = call.body | {"eTag": f'"{uuid.uuid4()}"'}
        body["properties"]["nextRunTimeEstimate"] = body["properties"]["schedule"]["recurrencePeriod"]["from"]
        plane.store.put(scope_of(call), "exports", call["name"], body)
    return Answer(body | {"name": call["name"], "id": call.path}, 200 if kept else 201)


def check_tag(kept: dict[str, Any] | None, sent: dict[str, Any]) -> None:
    """Who replaces a thing must have seen it as it is."""
    if kept is not None and sent.get("eTag") != kept["eTag"]:
        raise RefusalError(412, "PreconditionFailed", "The eTag does not match: the resource was changed meanwhile.")
    if kept is None and sent.get("eTag"):
        raise RefusalError(412, "PreconditionFailed", "There is no such resource to update.")


def _check_export(plane: Plane, properties: dict[str, Any]) -> None:
    agreement = plane.state.knob("costs", "agreement")
    if agreement == "individual":
        raise RefusalError(401, "RBACAccessDenied", "The client does not have authorization to perform action.")
    if agreement:
        kind = properties["definition"]["type"]
        said = f"Export type: {kind} is not supported for Agreement Type: {agreement} and Subscription."
        raise _invalid(said)
    destination = properties["deliveryInfo"]["destination"]
    if plane.state.knob("costs", "storage_forbidden"):
        said = f"The client has no permission to write the storage account '{destination['resourceId']}'."
        raise RefusalError(403, "AuthorizationFailed", said)
    if destination.get("resourceId", "").lower() != plane.state.storage_account_id.lower():
        raise _invalid(f"Storage account {destination.get('resourceId')} does not exist.")
    period = properties.get("schedule", {}).get("recurrencePeriod")
    if not period or datetime.fromisoformat(period["from"]) <= now(plane):
        raise _invalid("The recurrence period's from date must be in the future.")
    if datetime.fromisoformat(period["to"]) <= datetime.fromisoformat(period["from"]):
        raise _invalid("The recurrence period's to date must be after its from date.")
    if (properties["format"], properties.get("compressionMode")) not in (("Parquet", "snappy"), ("Csv", "gzip")):
        raise _invalid("The compression mode does not fit the format.")


def _run(plane: Plane, call: Call) -> Answer:
    if call.body is not None:  # without one it runs as its schedule would
        plane.check("cost.ExportRunRequest", call.body, f"{call.method} {call.path}")
    export = plane.store.get(scope_of(call), "exports", call["name"])
    if export is None:
        raise RefusalError(404, "NotFound", f"Export '{call['name']}' was not found.")
    first, last = _asked(plane, call.body)
    run = cost_delivery.begin(plane, scope_of(call), export, first, last, now(plane))
    plane.state.log(f"export {call['name']} runs for {first} to {last}: {run['properties']['status']}")
    return Answer(status=200)


def _asked(plane: Plane, body: Any) -> tuple[datetime, datetime]:
    if not body:
        today = now(plane)
        return today.replace(day=1, hour=0, minute=0, second=0, microsecond=0), today
    first, last = (datetime.fromisoformat(body["timePeriod"][key]) for key in ("from", "to"))
    if not first <= last:
        raise _invalid("The time period ends before it begins.")
    if (first.year, first.month) != (last.year, last.month):
        raise _invalid("The time period must not be longer than one calendar month.")
    if first > now(plane):
        raise _invalid("The time period is in the future.")
    return first, last


def _history(plane: Plane, call: Call) -> Answer:
    return Answer({"value": cost_delivery.history(plane, scope_of(call), call["name"])})


def _invalid(said: str) -> RefusalError:
    return RefusalError(400, "BadRequest", f"Request properties validation failed: {said}")
