"""Budgets: kept with an eTag, refused where Azure's documentation says so."""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from typing import Any

from tests.azure.twin.ml.state import Answer, Call, Plane, RefusalError

MOST_NOTIFICATIONS = 5
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")


def every(plane: Plane, call: Call) -> Answer:
    return Answer(
        {"value": [_wire(call, found.name, found.body) for found in plane.store.all(_scope(call), "budgets")]}
    )


def one(plane: Plane, call: Call) -> Answer:
    found = plane.store.get(_scope(call), "budgets", call["name"])
    if found is None:
        raise RefusalError(404, "ResourceNotFound", f"Budget {call['name']} was not found.")
    return Answer(_wire(call, found.name, found.body))


def put(plane: Plane, call: Call) -> Answer:
    from tests.azure.twin.cost import check_tag

    properties = call.body["properties"]
    _check(call["name"], properties)
    with plane.store.lock():
        found = plane.store.get(_scope(call), "budgets", call["name"])
        check_tag(found.body if found else None, call.body)
        if found and found.body["properties"]["timePeriod"]["startDate"] != properties["timePeriod"]["startDate"]:
            raise _invalid("The start date of a budget cannot be changed.")
        spent = {"currentSpend": {"amount": 0.0, "unit": "EUR"}}
        body = {"properties": properties | spent, "eTag": f'"{uuid.uuid4()}"'}
        plane.store.put(_scope(call), "budgets", call["name"], body)
    return Answer(_wire(call, call["name"], body), 200 if found else 201)


def delete(plane: Plane, call: Call) -> Answer:
    return Answer(status=200 if plane.store.delete(_scope(call), "budgets", call["name"]) else 204)


def _check(name: str, properties: dict[str, Any]) -> None:
    if not _NAME.fullmatch(name):
        raise _invalid(f"Budget name {name} is invalid.")
    start = datetime.fromisoformat(properties["timePeriod"]["startDate"])
    if start.day != 1:
        raise _invalid("The start date must be the first of a month.")
    if properties["category"] == "Cost" and not properties.get("amount", 0) > 0:
        raise _invalid("The amount must be greater than 0.")
    notifications = list((properties.get("notifications") or {}).values())
    for kind in ("Actual", "Forecasted"):
        if sum(found.get("thresholdType", "Actual") == kind for found in notifications) > MOST_NOTIFICATIONS:
            raise _invalid(f"A budget has up to {MOST_NOTIFICATIONS} notifications of type {kind}.")
    for found in notifications:
        if not 0 < found["threshold"] <= 1000 or not found["contactEmails"]:
            raise _invalid("A notification needs a threshold from 0 to 1000 and somebody to mail.")
        if found["operator"] not in ("GreaterThan", "GreaterThanOrEqualTo"):
            raise _invalid(f"A budget of costs knows no operator {found['operator']}.")


def _wire(call: Call, name: str, body: dict[str, Any]) -> dict[str, Any]:
    base = call.path.partition("/budgets")[0]
    return body | {"name": name, "id": f"{base}/budgets/{name}", "type": "Microsoft.CostManagement/budgets"}


def _scope(call: Call) -> str:
    return call.path.partition("/providers/Microsoft.CostManagement/")[0].lower()


def _invalid(said: str) -> RefusalError:
    return RefusalError(400, "BadRequest", said)
