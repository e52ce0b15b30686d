"""A workspace itself: its facts, its datastores, its computes, and what it may still use."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from tests.azure.twin.ml.state import Answer, Call, Plane, RefusalError, workspace_id
from tests.azure.twin.state import COMPUTE

LOCATION = "westeurope"
DATASTORE = "workspaceblobstore"


def routes(plane: Plane) -> list[Route]:
    provider = "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{location}"
    return [
        plane.route("", {"GET": _workspace}),
        plane.route("/datastores", {"GET": _datastores}),
        plane.route("/datastores/{name}", {"GET": _datastore}),
        plane.route("/datastores/{name}/listSecrets", {"POST": (_secrets, "ListSecrets")}),
        plane.route("/computes", {"GET": _computes}),
        plane.route("/computes/{name}", {"GET": _compute}),
        plane.route("/providers/Microsoft.Authorization/permissions", {"GET": _permissions}),
        plane.absolute_route(f"{provider}/usages", {"GET": _usages}),
        plane.absolute_route(f"{provider}/vmSizes", {"GET": _sizes}),
        plane.absolute_route(f"{provider}/quotas", {"GET": _quotas}),
    ]


def _workspace(plane: Plane, call: Call) -> Answer:
    root = plane.state.url("management")
    return Answer(
        {
            "id": call.scope,
            "name": call.workspace,
            "type": "Microsoft.MachineLearningServices/workspaces",
            "location": LOCATION,
            "kind": "Default",
            "tags": {},
            "sku": {"name": "Basic", "tier": "Basic"},
            "identity": {
                "type": "SystemAssigned",
                "principalId": workspace_id("identity"),
                "tenantId": plane.state.tenant,
            },
            "systemData": {"createdAt": "2026-01-01T00:00:00Z"},
            "properties": {
                "friendlyName": call.workspace,
                "workspaceId": workspace_id(call.workspace),
                "discoveryUrl": f"{root}/discovery",
                "mlFlowTrackingUri": f"azureml://{root.removeprefix('https://')}/mlflow/v1.0{call.scope}",
                "storageAccount": plane.blobs.arm_id(call),
                "keyVault": _sibling(call, "Microsoft.KeyVault/vaults/noria"),
                "applicationInsights": _sibling(call, "Microsoft.Insights/components/noria"),
                "containerRegistry": _sibling(call, "Microsoft.ContainerRegistry/registries/noria"),
                "provisioningState": "Succeeded",
                "publicNetworkAccess": "Enabled",
                "systemDatastoresAuthMode": "Identity",
                "hbiWorkspace": False,
            },
        }
    )


def _sibling(call: Call, resource: str) -> str:
    return f"/subscriptions/{call.subscription}/resourceGroups/{call.group}/providers/{resource}"


def _datastores(plane: Plane, call: Call) -> Answer:
    return Answer({"value": [_described(plane, call)]})


def _datastore(plane: Plane, call: Call) -> Answer:
    if call["name"] != DATASTORE:
        raise RefusalError(404, "UserError", f"Could not find datastore with name: {call['name']}")
    return Answer(_described(plane, call))


def _described(plane: Plane, call: Call) -> dict[str, Any]:
    """The default datastore. Its files are reached by Entra ID, as infra/ sets it up: no account key is handed out."""
    plane.blobs.ensure(plane.blobs.container(call.workspace))
    return {
        "id": f"{call.scope}/datastores/{DATASTORE}",
        "name": DATASTORE,
        "type": "Microsoft.MachineLearningServices/workspaces/datastores",
        "systemData": {"createdAt": "2026-01-01T00:00:00Z"},
        "properties": {
            "datastoreType": "AzureBlob",
            "isDefault": True,
            "accountName": plane.blobs.account,
            "containerName": plane.blobs.container(call.workspace),
            "endpoint": plane.blobs.endpoint,
            "protocol": "https",
            "credentials": {"credentialsType": "AccountKey" if plane.blobs.keys else "None"},
            "serviceDataAccessAuthIdentity": "WorkspaceSystemAssignedIdentity",
            "description": None,
            "tags": {},
            "properties": {},
        },
    }


def _secrets(plane: Plane, call: Call) -> Answer:
    if not plane.blobs.keys:
        raise RefusalError(400, "UserError", f"No secrets for credential-less datastore {call['name']}")
    if (call.body or {}).get("expirableSecret"):
        return Answer({"secretsType": "Sas", "sasToken": plane.blobs.sas(plane.blobs.container(call.workspace))})
    return Answer({"secretsType": "AccountKey", "key": plane.state.account_key})


def _computes(plane: Plane, call: Call) -> Answer:
    return Answer({"value": [_cluster(plane, call)]})


def _compute(plane: Plane, call: Call) -> Answer:
    if call["name"] != COMPUTE:
        raise RefusalError(404, "ComputeNotFound", f"The specified compute {call['name']} was not found.")
    return Answer(_cluster(plane, call))


def _cluster(plane: Plane, call: Call) -> dict[str, Any]:
    errors = plane.state.knob("management", "compute_errors", [])
    return {
        "id": f"{call.scope}/computes/{COMPUTE}",
        "name": COMPUTE,
        "type": "Microsoft.MachineLearningServices/workspaces/computes",
        "location": LOCATION,
        "tags": {},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {}},
        "systemData": {"createdAt": "2026-01-01T00:00:00Z"},
        "properties": {
            "computeType": "AmlCompute",
            "computeLocation": LOCATION,
            "provisioningState": "Succeeded",
            "createdOn": "2026-01-01T00:00:00Z",
            "modifiedOn": "2026-01-01T00:00:00Z",
            "isAttachedCompute": False,
            "disableLocalAuth": True,
            "properties": {
                "vmSize": "STANDARD_DS3_V2",
                "vmPriority": "Dedicated",
                "osType": "Linux",
                "allocationState": "Steady",
                "currentNodeCount": 0,
                "targetNodeCount": 0,
                "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 4, "nodeIdleTimeBeforeScaleDown": "PT2M"},
                "remoteLoginPortPublicAccess": "Disabled",
                "enableNodePublicIp": True,
                "errors": [{"error": error} for error in errors],
            },
        },
    }


def _usages(plane: Plane, call: Call) -> Answer:
    name = {"value": "standardDSv2Family", "localizedValue": "Standard DSv2 Family Cluster Dedicated vCPUs"}
    usage = {
        "id": f"/subscriptions/{call.subscription}/providers/Microsoft.MachineLearningServices/locations/"
        f"{call['location']}/usages/standardDSv2Family",
        "type": "Microsoft.MachineLearningServices/usages",
        "unit": "Count",
        "currentValue": plane.state.knob("management", "vcpus_used", 0),
        "limit": plane.state.knob("management", "vcpus_limit", 24),
        "name": name,
    }
    return Answer({"value": [usage]})


def _sizes(_plane: Plane, _call: Call) -> Answer:
    size = {
        "name": "Standard_DS3_v2",
        "family": "standardDSv2Family",
        "vCPUs": 4,
        "gpus": 0,
        "memoryGB": 14,
        "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
    }
    return Answer({"value": [size]})


def _permissions(plane: Plane, _call: Call) -> Answer:
    """What the caller may do: the actions of the role AzureML Data Scientist, unless the knob `actions` says others."""
    everything = [
        f"Microsoft.MachineLearningServices/workspaces/*/{verb}" for verb in ("read", "action", "delete", "write")
    ]
    own = ["Microsoft.MachineLearningServices/workspaces/read"]
    actions = plane.state.knob("management", "actions", [*own, *everything])
    never = ["Microsoft.MachineLearningServices/workspaces/computes/*/write"]
    return Answer({"value": [{"actions": actions, "notActions": never, "dataActions": [], "notDataActions": []}]})


def _quotas(plane: Plane, call: Call) -> Answer:
    name = {"value": "standardDSv2Family", "localizedValue": "Standard DSv2 Family Cluster Dedicated vCPUs"}
    return Answer(
        {"value": [{"type": "Microsoft.MachineLearningServices/quotas", "limit": 24, "unit": "Count", "name": name}]}
    )
