"""Azure ML: the workspace, its compute and quota, what jobs are made of, and the registry of models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from noria.azure import AzureConnection
from noria.azure.errors import Service, explained, refused
from noria.compute.azureml import image
from noria.doctor.azure.arm import Arm
from noria.doctor.azure.lake import container_client
from noria.doctor.finding import Verdict
from noria.doctor.together import Check
from noria.errors import AccessError, QuotaError, RefusedError

_PREFIX = "Microsoft.MachineLearningServices/workspaces/"
JOB_ACTIONS = tuple(f"{_PREFIX}{kind}/write" for kind in ("jobs", "codes/versions", "environments/versions"))
MODEL_ACTIONS = tuple(f"{_PREFIX}{kind}/write" for kind in ("models", "models/versions"))
_SPOT = "lowpriority"


class Workspace:
    """One workspace, as its connection names it."""

    def __init__(self, connection: AzureConnection) -> None:
        self._connection = connection
        self._resource = f"Azure ML workspace {connection.get('workspace')}"
        self._compute_name = connection.get("compute")
        self._arm = Arm(connection, self._resource, Service.ML)
        self._models = Arm(connection, self._resource, Service.REGISTRY)

    def job_checks(self, after: tuple[str, ...]) -> list[Check]:
        """What jobs need; `after` are the subjects of the identity."""
        compute = f"compute {self._compute_name} of {self._resource}"
        inside = (*after, "azureml")
        return [
            Check("azureml", self._resource, self._check_workspace, after),
            Check("compute", compute, self._check_compute, inside),
            Check("quota", f"quota for {compute}", self._check_quota, (*inside, "compute")),
            Check("environment", f"environment {image.NAME} of {self._resource}", self._check_environment, inside),
            Check("datastore", f"default datastore of {self._resource}", self._check_datastore, inside),
            Check("mlflow", f"MLflow of {self._resource}", self._check_mlflow, inside),
        ]

    def registry_checks(self, after: tuple[str, ...], audit: Callable[[str], Verdict]) -> list[Check]:
        """What the registry needs; `after` are the subjects of the identity.

        `audit` says what was written to it around the verdicts, given what to say if nothing was.
        """
        check = partial(self._check_registry, audit)
        return [Check("registry", f"models of {self._resource}", check, after)]

    def _check_workspace(self) -> Verdict:
        found = self._arm.workspace()
        state = found["properties"].get("provisioningState") or "Succeeded"
        if state != "Succeeded":
            return "fail", f"{self._resource} is {state}", "Wait for it, or see its page in the Azure portal."
        where = f"{self._resource} in {found['location']}"
        return self._permitted(self._arm, JOB_ACTIONS, Service.ML, where, "jobs may be submitted")

    def _check_compute(self) -> Verdict:
        cluster = self._compute()
        what = f"compute {self._compute_name} of {self._resource}"
        facts, inner = cluster["properties"], cluster["properties"].get("properties") or {}
        troubles = [*(facts.get("provisioningErrors") or []), *(inner.get("errors") or [])]
        for trouble in troubles:
            error = trouble.get("error") or {}
            raise refused(what, Service.ML, code=error.get("code") or "", message=error.get("message") or "")
        if facts.get("provisioningState") not in (None, "Succeeded", "Updating"):
            return "fail", f"{what} is {facts['provisioningState']}", "Make it again: infra/."
        wanted, most = _nodes(self._connection), (inner.get("scaleSettings") or {}).get("maxNodeCount")
        if most is not None and wanted > most:
            return (
                "fail",
                f"{what} has at most {most} nodes, extra.nodes of {self._connection.conn_id} says {wanted}",
                "Raise the cluster's maximum (infra/) or lower extra.nodes.",
            )
        size, now = inner.get("vmSize", "?"), inner.get("currentNodeCount", 0)
        return (
            "ok",
            f"{what}: {size}, {now} of at most {most} nodes up, {inner.get('allocationState', '?').lower()}",
            "",
        )

    def _check_quota(self) -> Verdict:
        cluster = self._compute()
        try:
            return self._quota_for(cluster)
        except AccessError as error:  # it is the subscription's, and no job needs to see it
            return "warn", error.got, "Grant the role Reader on the subscription, or see Azure portal, Quotas."

    def _quota_for(self, cluster: dict[str, Any]) -> Verdict:
        facts = cluster["properties"].get("properties") or {}
        location = cluster["properties"].get("computeLocation") or cluster.get("location") or ""
        size = str(facts.get("vmSize") or "")
        sizes = self._arm.region(location, "vmSizes", f"sizes of machines in {location}")
        kind = next((entry for entry in sizes if entry["name"].lower() == size.lower()), None)
        if kind is None:
            raise refused(f"{size} in {location}", Service.ML, code="SkuNotAvailable")
        spot = str(facts.get("vmPriority")).lower() == _SPOT
        family = "lowPriorityCores" if spot else str(kind["family"])
        usages = self._arm.region(location, "usages", f"quota in {location}")
        usage = next((entry for entry in usages if entry["name"]["value"].lower() == family.lower()), None)
        if usage is None:
            return "warn", f"quota of {family} in {location} is not told", "See Azure portal, Quotas."
        own = int(facts.get("currentNodeCount") or 0) * int(kind["vCPUs"])
        return _judge_quota(f"{family} in {location}", _nodes(self._connection) * int(kind["vCPUs"]), usage, own)

    def _check_environment(self) -> Verdict:
        name = f"{image.NAME}:{image.version()}"
        if not self._arm.has(f"/environments/{image.NAME}/versions/{image.version()}", f"environment {name}"):
            self._arm.workspace()  # or else it is the workspace that is not there
            return "ok", f"{name} is made by the first job, which waits about 10 minutes for its image", ""
        return "ok", f"{name} is there", ""

    def _check_datastore(self) -> Verdict:
        return "ok", self._reach_datastore(), ""

    def _reach_datastore(self) -> str:
        """Where the workspace keeps code and models; unless Azure ML holds a key for it, this identity is let in."""
        stores = self._arm.workspace("/datastores", "datastores", isDefault="true").get("value") or []
        facts = next((store["properties"] for store in stores if store["properties"].get("isDefault")), None)
        if facts is None:
            raise RefusedError(
                f"{self._resource} has no default datastore", remedy="Set one: Azure ML Studio, Data, Datastores."
            )
        account, container = facts.get("accountName"), facts.get("containerName")
        where = f"storage account {account}, container {container}"
        if (facts.get("credentials") or {}).get("credentialsType") == "None":
            host = f"{account}.blob.{facts.get('endpoint') or 'core.windows.net'}"
            with explained(f"default datastore of {self._resource}: {where}", Service.ARTIFACTS):
                container_client(f"https://{host}", container, self._connection).get_container_properties()
        return where

    def _check_mlflow(self) -> Verdict:
        address = self._arm.workspace()["properties"].get("mlFlowTrackingUri")
        if not address:
            return "warn", f"{self._resource} names no MLflow server", "Figures of jobs are not shown in Studio."
        return "ok", f"figures of jobs go to {address.partition('/subscriptions/')[0]}", ""

    def _check_registry(self, audit: Callable[[str], Verdict]) -> Verdict:
        listed = self._models.workspace("/models", "models").get("value") or []
        where = f"{self._resource} keeps {len(listed)} models in {self._reach_datastore()}"
        status, detail, remedy = self._permitted(
            self._models, MODEL_ACTIONS, Service.REGISTRY, where, "more may be registered"
        )
        return audit(detail) if status == "ok" else (status, detail, remedy)

    def _compute(self) -> dict[str, Any]:
        return self._arm.workspace(f"/computes/{self._compute_name}", f"compute {self._compute_name}")

    def _permitted(self, arm: Arm, actions: tuple[str, ...], service: Service, where: str, so: str) -> Verdict:
        lacking = arm.may_not(*actions)
        if lacking is None:
            return "ok", f"{where}; whether {so} is not told to this identity", ""
        if lacking:
            names = ", ".join(action.removeprefix(_PREFIX) for action in lacking)
            raise refused(self._resource, service, code="AuthorizationFailed", message=f"not permitted: {names}")
        return "ok", f"{where}; {so}", ""


def _nodes(connection: AzureConnection) -> int:
    text = connection.get("nodes") or "1"
    return int(text) if text.isdigit() else 1


def _judge_quota(what: str, needed: int, usage: dict[str, Any], own: int) -> Verdict:
    """Whether a job fits.

    Args:
        what: The family of machines and the region.
        needed: vCPUs that a job takes.
        usage: Azure's entry: `limit` and `currentValue`.
        own: vCPUs that the cluster holds already, which the job can use.
    """
    limit, used = int(usage.get("limit") or 0), int(usage.get("currentValue") or 0)
    said = f"{what}: {used} of {limit} vCPUs in use, a job takes {needed}"
    if limit == -1 or needed <= limit - used + own:
        return "ok", said, ""
    if needed > limit:
        raise QuotaError(said, remedy="Ask for more (Azure portal, Quotas), or use fewer or smaller machines.")
    return "fail", said, "Wait for the others or end them, ask for more (Azure portal, Quotas), or use fewer nodes."
