"""Versioned assets of a workspace (codes, environments, models, components, data), listed in pages.

The knob `page` of `management` is the size of a page.
"""

from __future__ import annotations

import urllib.parse
import uuid
from typing import Any

from starlette.routing import Route

from tests.azure.twin.ml.state import Answer, Call, Plane, RefusalError, Resource

# Kind -> the models of a version and of its container, and the property that never changes.
KINDS = {
    "codes": ("CodeVersion", "CodeContainer", "codeUri"),
    "components": ("ComponentVersion", "ComponentContainer", "componentSpec"),
    "data": ("DataVersionBase", "DataContainer", "dataUri"),
    "environments": ("EnvironmentVersion", "EnvironmentContainer", "image"),
    "models": ("ModelVersion", "ModelContainer", "modelUri"),
}
PAGE = 100
# https://learn.microsoft.com/azure/machine-learning/resource-limits-capacity has them for runs and experiments.
MOST_TAGS, LONGEST_KEY, LONGEST_VALUE, LONGEST_DESCRIPTION = 50, 100, 1000, 5000


def routes(plane: Plane) -> list[Route]:
    found = []
    for kind, (version, container, _) in KINDS.items():
        found += [
            plane.route(f"/{kind}", {"GET": _for(kind, _list_containers)}),
            plane.route(
                f"/{kind}/{{name}}",
                {"GET": _for(kind, _get_container), "PUT": (_for(kind, _put_container), container)},
            ),
            plane.route(f"/{kind}/{{name}}/versions", {"GET": _for(kind, _list_versions)}),
            plane.route(
                f"/{kind}/{{name}}/versions/{{version}}",
                {
                    "GET": _for(kind, _get),
                    "PUT": (_for(kind, _put), version),
                    "DELETE": _for(kind, _delete),
                },
            ),
            plane.route(
                f"/{kind}/{{name}}/versions/{{version}}/startPendingUpload",
                {"POST": (_start_upload, "PendingUploadRequestDto")},
            ),
        ]
    return found


def _for(kind: str, handler: Any) -> Any:
    return lambda plane, call: handler(plane, call, kind)


def _get(plane: Plane, call: Call, kind: str) -> Answer:
    found = plane.store.get(call.workspace, kind, call["name"], call["version"])
    if found is None:
        raise _not_found(call, kind)
    return Answer(_wire(call, found))


def _put(plane: Plane, call: Call, kind: str) -> Answer:
    fixed = KINDS[kind][2]
    _check_limits(call.body["properties"])
    with plane.store.lock():
        if plane.store.get(call.workspace, f"{kind}.deleted", call["name"], call["version"]) is not None:
            said = f"Asset {call['name']}/versions/{call['version']} was deleted, it cannot be recreated."
            raise RefusalError(400, "UserError", f"{said} Please try again with a different version.")
        before = plane.store.get(call.workspace, kind, call["name"], call["version"])
        if before is not None and before.body["properties"].get(fixed) != call.body["properties"].get(fixed):
            raise RefusalError(400, "UserError", "Asset paths cannot be updated.")
        after = plane.store.put(call.workspace, kind, call["name"], call.body, call["version"])
    return Answer(_wire(call, after), 200 if before else 201)


def _delete(plane: Plane, call: Call, kind: str) -> Answer:
    if not plane.store.delete(call.workspace, kind, call["name"], call["version"]):
        return Answer(status=204)
    plane.store.put(call.workspace, f"{kind}.deleted", call["name"], {}, call["version"])
    return Answer(status=200)


def _check_limits(properties: dict[str, Any]) -> None:
    tags = properties.get("tags") or {}
    wrong = len(tags) > MOST_TAGS or len(properties.get("description") or "") > LONGEST_DESCRIPTION
    wrong = wrong or any(len(k) > LONGEST_KEY or len(v) > LONGEST_VALUE for k, v in tags.items())
    if wrong:
        raise RefusalError(400, "UserError", "Tags or description are over the service's limits.")


def _list_versions(plane: Plane, call: Call, kind: str) -> Answer:
    # With a hash the service answers with assets of that content, regardless of their name.
    name = None if "hash" in call.query else call["name"]
    found = [r for r in plane.store.all(call.workspace, kind, name) if _listed(r, call)]
    if call.query.get("$orderBy", "").lower() != "createdtime asc":
        found.reverse()  # newest first unless asked otherwise
    return _page(plane, call, [_wire(call, r) for r in found])


def _listed(resource: Resource, call: Call) -> bool:
    properties = resource.body["properties"]
    view, archived = call.query.get("listViewType", "ActiveOnly"), bool(properties.get("isArchived"))
    if (view == "ActiveOnly" and archived) or (view == "ArchivedOnly" and not archived):
        return False
    wanted = call.query.get("hash")
    return wanted is None or (properties.get("properties") or {}).get("hash_sha256") == wanted


def _page(plane: Plane, call: Call, items: list[dict[str, Any]]) -> Answer:
    start, size = int(call.query.get("$skip", 0)), int(call.query.get("$top", 0))
    size = size or int(plane.state.knob("management", "page", PAGE))
    body: dict[str, Any] = {"value": items[start : start + size]}
    if start + size < len(items) and "$top" not in call.query:
        query = urllib.parse.urlencode({**call.query, "$skip": start + size})
        body["nextLink"] = f"{call.root}{call.path}?{query}"
    return Answer(body)


def _list_containers(plane: Plane, call: Call, kind: str) -> Answer:
    names = {r.name: None for r in plane.store.all(call.workspace, kind)}
    names |= {r.name: None for r in plane.store.all(call.workspace, f"{kind}.containers")}
    return _page(plane, call, [_container(plane, call, kind, name) for name in names])


def _get_container(plane: Plane, call: Call, kind: str) -> Answer:
    known = plane.store.all(call.workspace, kind, call["name"])
    if not known and plane.store.get(call.workspace, f"{kind}.containers", call["name"]) is None:
        raise _not_found(call, kind)
    return Answer(_container(plane, call, kind, call["name"]))


def _put_container(plane: Plane, call: Call, kind: str) -> Answer:
    plane.store.put(call.workspace, f"{kind}.containers", call["name"], call.body)
    return Answer(_container(plane, call, kind, call["name"]), 201)


def _container(plane: Plane, call: Call, kind: str, name: str) -> dict[str, Any]:
    kept = plane.store.get(call.workspace, f"{kind}.containers", name)
    versions = plane.store.all(call.workspace, kind, name)
    numbers = [int(v.version) for v in versions if v.version.isdigit()]
    first = kept or versions[0]
    return {
        "id": f"{call.scope}/{kind}/{name}",
        "name": name,
        "type": f"Microsoft.MachineLearningServices/workspaces/{kind}",
        "systemData": first.system_data,
        "properties": {
            "description": None, "tags": {}, "properties": {}, "isArchived": False,
            **((kept.body.get("properties") or {}) if kept else {}),
            "latestVersion": versions[-1].version if versions else None,
            "nextVersion": str(max(numbers, default=0) + 1),
        },
    }  # fmt: skip


def _start_upload(plane: Plane, call: Call) -> Answer:
    """A fresh container with a SAS, as Azure gives one each time."""
    container = f"upload-{uuid.uuid4()}"
    uri, sas = plane.blobs.container_with_sas(container)
    return Answer(
        {
            "pendingUploadId": str(uuid.uuid4()),
            "pendingUploadType": "TemporaryBlobReference",
            "blobReferenceForConsumption": {
                "blobUri": uri,
                "storageAccountArmId": plane.blobs.arm_id(call),
                "credential": {"credentialType": "SAS", "sasUri": f"{uri}?{sas}"},
            },
        }
    )


def _wire(call: Call, found: Resource) -> dict[str, Any]:
    """A version as the service gives it: what was sent, and never null where the SDK expects a mapping."""
    sent = found.body["properties"]
    properties = {"description": None, "isArchived": False, "isAnonymous": False, **sent}
    for key in ("tags", "properties", *(["flavors"] if found.kind == "models" else [])):
        properties[key] = sent.get(key) or {}
    properties["provisioningState"] = "Succeeded"
    return {
        "id": f"{call.scope}/{found.kind}/{found.name}/versions/{found.version}",
        "name": found.version,
        "type": f"Microsoft.MachineLearningServices/workspaces/{found.kind}/versions",
        "systemData": found.system_data,
        "properties": properties,
    }


def _not_found(call: Call, kind: str) -> RefusalError:
    asked = "/".join([kind, *call.names.values()])
    return RefusalError(404, "UserError", f"Not found: {asked} in workspace {call.workspace}.")
