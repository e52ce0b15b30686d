"""What the checks make of Azure's answers, where the twin gives no such ones."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from noria.azure import AzureConnection
from noria.azure.errors import Service
from noria.doctor.azure import identity
from noria.doctor.azure.arm import Arm
from noria.doctor.azure.connections import collect, connection_findings
from noria.doctor.azure.identity import check_clock, identity_checks, identity_subjects
from noria.doctor.azure.ml import JOB_ACTIONS, MODEL_ACTIONS, Workspace
from noria.errors import NoriaError
from noria.settings import Settings

LAKE_URL = "abfss://lake@account.dfs.core.windows.net"
PLACE = {"subscriptionId": "s", "resourceGroup": "g", "workspace": "w", "compute": "c"}
DATA_SCIENTIST = {
    "actions": [
        f"Microsoft.MachineLearningServices/workspaces/*/{verb}" for verb in ("read", "action", "delete", "write")
    ],
    "notActions": [
        "Microsoft.MachineLearningServices/workspaces/delete",
        "Microsoft.MachineLearningServices/workspaces/write",
        "Microsoft.MachineLearningServices/workspaces/computes/*/write",
    ],
}
"""The built-in role, shortened: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles"""


def settings(**environ: str) -> Settings:
    return Settings.from_env({"NORIA_PROFILE": "azure", "NORIA_LAKE_URL": LAKE_URL, **environ})


class Answers:
    """Stands for Azure Resource Manager: path -> body."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bodies: dict[str, Any]) -> None:
        def get(_arm: Arm, path: str, *_: object, **__: object) -> Any:
            found = next((body for end, body in bodies.items() if path.endswith(end)), None)
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(Arm, "_get", get)


@pytest.mark.parametrize(
    ("permissions", "lacking"),
    [
        ([DATA_SCIENTIST], []),
        ([{"actions": ["*"], "notActions": []}], []),
        ([{"actions": ["*/read"]}], [*JOB_ACTIONS, *MODEL_ACTIONS]),
        ([], [*JOB_ACTIONS, *MODEL_ACTIONS]),
        ([{"actions": ["*/read"]}, {"actions": ["microsoft.machinelearningservices/workspaces/*"]}], []),
        ([{**DATA_SCIENTIST, "notActions": [MODEL_ACTIONS[1]]}], [MODEL_ACTIONS[1]]),
    ],
)
def test_permissions_add_up(monkeypatch: pytest.MonkeyPatch, permissions: list[Any], lacking: list[str]) -> None:
    Answers(monkeypatch, {"/permissions": {"value": permissions}})
    arm = Arm(AzureConnection("azureml_default", extra=PLACE), "workspace w", Service.ML)
    assert arm.may_not(*JOB_ACTIONS, *MODEL_ACTIONS) == lacking


@pytest.mark.parametrize(
    ("cluster", "usage", "status", "said"),
    [
        ({}, {"currentValue": 0, "limit": 24}, "ok", "a job takes 4"),
        ({}, {"currentValue": 21, "limit": 24}, "fail", "21 of 24"),
        ({"currentNodeCount": 1}, {"currentValue": 24, "limit": 24}, "ok", "a job takes 4"),
        ({}, {"currentValue": 99, "limit": -1}, "ok", "a job takes 4"),
        ({"vmPriority": "LowPriority"}, {"currentValue": 0, "limit": 24}, "warn", "lowPriorityCores"),
    ],
)
def test_quota(monkeypatch: pytest.MonkeyPatch, cluster: dict[str, Any], usage: Any, status: str, said: str) -> None:
    inner = {"vmSize": "STANDARD_DS3_V2", **cluster}
    Answers(
        monkeypatch,
        {
            "/computes/c": {"properties": {"computeLocation": "West Europe", "properties": inner}},
            "/locations/westeurope/vmSizes": {"value": [{"name": "Standard_DS3_v2", "family": "f", "vCPUs": 4}]},
            "/locations/westeurope/usages": {"value": [{"name": {"value": "f"}, **usage}]},
        },
    )
    found = Workspace(AzureConnection("azureml_default", extra=PLACE))._check_quota()
    assert found[0] == status and said in found[1]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"provisioningErrors": [{"error": {"code": "ClusterCoreQuotaReached", "message": "m"}}]}, "quota is full"),
        ({"properties": {"errors": [{"error": {"code": "AllocationFailed", "message": "m"}}]}}, "no free machines"),
        ({"provisioningState": "Failed"}, "is Failed"),
    ],
)
def test_compute_in_trouble(monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], said: str) -> None:
    Answers(monkeypatch, {"/computes/c": {"properties": facts}})
    try:
        status, detail, remedy = Workspace(AzureConnection("azureml_default", extra=PLACE))._check_compute()
    except NoriaError as error:
        status, detail, remedy = "fail", str(error), error.remedy
    assert status == "fail" and said in detail and remedy


@pytest.mark.parametrize(("seconds", "status"), [(0, "ok"), (-30, "ok"), (120, "warn"), (-3600, "fail"), (900, "fail")])
def test_clock(monkeypatch: pytest.MonkeyPatch, seconds: int, status: str) -> None:
    def head(url: str, **_: object) -> httpx.Response:
        assert url == "https://account.blob.core.windows.net/"
        return httpx.Response(401, headers={"Date": formatdate(time.time() + seconds, usegmt=True)})

    monkeypatch.setattr(httpx, "head", head)
    found = check_clock(LAKE_URL, None)
    assert found[0] == status
    assert ("chrony" in found[2]) is (status != "ok")


def test_identities_are_told_apart() -> None:
    principal = {"conn_type": "azure", "login": "client", "password": "planted", "extra": {**PLACE, "tenantId": "t"}}
    key = {"conn_type": "adls", "extra": {"connection_string": "AccountName=a;AccountKey=planted"}}
    connections = collect(
        settings(
            AIRFLOW_CONN_ADLS_DEFAULT=json.dumps(key),
            AIRFLOW_CONN_AZUREML_DEFAULT=json.dumps(principal),
            AIRFLOW_CONN_AZUREML_PRODUCTION=json.dumps({"extra": PLACE}),
        ),
        seconds=1,
    )
    checks = identity_checks(connections)
    assert [check.subject for check in checks] == ["identity azureml_default", "identity azureml_production"]
    subjects = identity_subjects(connections)
    assert subjects["adls_default"] == (), "a key is no identity"
    assert subjects["azureml_default"] == ("identity azureml_default",)
    assert "planted" not in f"{connection_findings(connections)}{connections}"


def test_a_token_that_says_nothing_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    class Credential:
        def get_token(self, scope: str) -> Any:
            assert scope == identity.SCOPE
            return type("Token", (), {"token": "opaque", "expires_on": int(time.time()) + 600})

    connection = AzureConnection("azureml_default", extra={"tenantId": "t"})
    monkeypatch.setattr(AzureConnection, "credential", lambda _self: Credential())
    assert identity.check_identity(connection, "identity of x")[0] == "ok"


def test_broken_secrets_backend_is_named(tmp_path: Any) -> None:
    connections = collect(
        settings(
            AIRFLOW__SECRETS__BACKEND="no.such.Backend",
            AIRFLOW_HOME=str(tmp_path),
            AIRFLOW_CONN_ADLS_DEFAULT='{"extra": {}}',
        ),
        seconds=60,
    )
    findings = {finding.subject: finding for finding in connection_findings(connections)}
    assert findings["secrets"].status == "fail"
    assert "no.such.Backend" in findings["secrets"].detail
    assert "AIRFLOW__SECRETS__BACKEND" in findings["secrets"].remedy
    assert findings["adls_default"].status == "ok", "the variable is there"
    assert findings["azureml_default"].detail.startswith("not known, see secrets")
