"""`noria doctor --profile azure` on the twin: every fault is named, with the resource, the role and the remedy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noria.azure import CONNECTIONS, ML, PRODUCTION
from noria.doctor import Finding, examine
from noria.registry import open_azureml_registry
from noria.settings import CHECKOUT, Settings
from noria.verdicts import Keyring
from tests.azure.secrets import assert_no_secrets
from tests.azure.twin.client import Twin
from tests.support.registering import judged_now

pytestmark = pytest.mark.slow
NORIA = Path(sys.executable).parent / "noria"
DOCTOR = """
import sys, time
from pathlib import Path
Path(sys.argv.pop(1)).write_text(str(time.time()))
from noria.cli import main
sys.exit(main())
"""
"""`noria` that writes when it began: how long Python takes to start says something of the machine alone."""
HANG_SECONDS = 60
SUBJECTS = [
    *("python", "packages", "disk", "profile", "mail", "pipelines", "prices"),
    *CONNECTIONS,
    *("identity", "clock", "lake", "lock", "outbox", "synapse"),
    *("azureml", "compute", "quota", "environment", "datastore", "mlflow", "costs", "keys", "registry", "ledger"),
]
OF_NOBODY = {"keys"}
"""What asks no service."""
OF_THE_MACHINE = {"packages", "mail"}
"""What may be wrong here without the twin's doing."""


@pytest.fixture
def look(twin: Twin, tmp_path: Path) -> Callable[..., dict[str, Finding]]:
    """Examine the twin, with some variables changed; the findings by subject."""

    def look(**changes: str) -> dict[str, Finding]:
        environment = {**twin.environment, "NORIA_LAKE_URL": twin.lake_url(), **changes}
        findings = examine(Settings.from_env(environment, home=tmp_path))
        assert not [f for f in findings if f.status != "ok" and not f.remedy], "each failure has its remedy"
        shown = "\n".join(f"{f.detail} {f.remedy}" for f in findings)
        assert not [secret for secret in twin.planted_secrets if secret in shown]
        return {finding.subject: finding for finding in findings}

    return look


def failures(found: dict[str, Finding]) -> dict[str, Finding]:
    """Those of the services, without those that only follow from another."""
    return {
        subject: finding
        for subject, finding in found.items()
        if finding.status == "fail" and subject not in OF_THE_MACHINE and "not known, see" not in finding.detail
    }


def echoes(found: dict[str, Finding]) -> set[str]:
    return {subject for subject, finding in found.items() if "not known, see" in finding.detail}


def connection(twin: Twin, conn_id: str, **changes: Any) -> dict[str, str]:
    """The variable of a connection with another host or other keys in its extra; None takes one away."""
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    facts = json.loads(twin.environment[variable])
    facts["host"] = changes.pop("host", facts.get("host"))
    facts["extra"] = {key: value for key, value in (facts["extra"] | changes).items() if value is not None}
    return {variable: json.dumps(facts)}


def test_all_is_well_in_one_line_each_and_nothing_is_left(twin: Twin, tmp_path: Path) -> None:
    lake_url = twin.lake_url()
    environment = {**twin.environment, "NORIA_PROFILE": "local", "NORIA_LAKE_URL": lake_url}
    command = [NORIA, "doctor", "--profile", "azure", "--home", tmp_path]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    lines = said.stdout.splitlines()
    assert [line.split()[1] for line in lines] == SUBJECTS
    assert {line.split()[1] for line in lines if not line.startswith("ok")} <= OF_THE_MACHINE
    (tmp_path / "said").write_text(said.stdout + said.stderr)
    assert_no_secrets([tmp_path], twin.planted_secrets)
    assert not said.stderr, "what the SDKs log is not for the reader"
    if not isinstance(twin, Twin):  # a subscription, which does not tell what it was asked
        return
    assert twin.environment["IDENTITY_HEADER"] not in said.stdout + said.stderr
    assert not twin.requests(method="POST"), "nothing is submitted"
    probes = [seen for seen in twin.requests("storage", path="/doctor/") if seen.status]
    assert {(seen.method, seen.status) for seen in probes} >= {("PUT", 201), ("GET", 206), ("DELETE", 202)}


def test_connections_that_are_missing_unreadable_or_incomplete(twin: Twin, look: Any) -> None:
    found = look(
        AIRFLOW_CONN_ADLS_DEFAULT="",
        AIRFLOW_CONN_AZURE_COSTS="",
        AIRFLOW_CONN_AZUREML_DEFAULT='{"password": "planted-secret',
        AIRFLOW_CONN_AZUREML_PRODUCTION="",
        **connection(twin, "azure_synapse_default", sparkPool=None, subscriptionId=None, host=None),
    )
    assert found["adls_default"].status == "warn"
    assert found["lake"].status == "ok", "a machine's own identity suffices"
    assert found["azure_synapse_default"].detail == "has no host, extra.sparkPool, extra.subscriptionId"
    assert "cannot be read" in found["azureml_default"].detail
    assert "planted-secret" not in str(found)
    assert found["azureml_production"].status == "ok"
    assert found["azure_costs"].status == "warn" and "metering alone" in found["azure_costs"].detail
    assert not found.keys() & {"synapse", "azureml", "registry", "costs"}, "there is nobody to ask"


def test_wrong_tenant(twin: Twin, look: Any) -> None:
    other = "11111111-1111-1111-1111-111111111111"
    twin.set("identity", tenant=other)
    found = look()
    assert failures(found).keys() == {"identity"}
    identity = found["identity"]
    assert other in identity.detail and "extra.tenantId of adls_default" in identity.detail
    assert "az login --tenant" in identity.remedy
    assert echoes(found) == set(SUBJECTS[SUBJECTS.index("lake") :]) - OF_NOBODY, "one cause, one line"


def test_expired_token(twin: Twin, look: Any) -> None:
    twin.set("identity", lifetime_seconds=-30)
    found = look()
    assert failures(found).keys() == {"identity"}
    assert "expired" in found["identity"].detail
    assert "clock" in found["identity"].remedy


def test_nobody_is_signed_in(twin: Twin, look: Any) -> None:
    body = json.dumps({"statusCode": 400, "message": "No User Assigned Identity found"})
    twin.fault("identity", status=400, body=body)
    found = look()
    assert failures(found).keys() == {"identity"}
    assert "No User Assigned Identity found" in found["identity"].detail
    assert "az login" in found["identity"].remedy


def forbidden_by_storage() -> dict[str, Any]:
    """The fault of a role that lacks."""
    code = "AuthorizationPermissionMismatch"
    body = f"<Error><Code>{code}</Code><Message>This request is not authorized.</Message></Error>"
    return {"status": 403, "headers": {"x-ms-error-code": code, "Content-Type": "application/xml"}, "body": body}


def test_missing_role_on_the_lake(twin: Twin, look: Any) -> None:
    twin.fault("storage", **forbidden_by_storage())
    found = look()
    assert failures(found).keys() == {"lake", "datastore", "registry"}, "the twin keeps them in one account"
    assert "storage account devstoreaccount1, container lake" in found["lake"].detail
    assert "container azureml-blobstore-noria:" in found["datastore"].detail
    assert "container azureml-blobstore-noria-production:" in found["registry"].detail
    for finding in failures(found).values():
        assert "Storage Blob Data Contributor" in finding.detail
        assert "Grant it" in finding.remedy


def test_role_that_may_read_and_not_write_the_lake_the_pool_and_the_workspaces(twin: Twin, look: Any) -> None:
    twin.fault("storage", method="PUT", path="/doctor/", **forbidden_by_storage())
    said = "The principal does not have the required Synapse RBAC permission to perform this action."
    twin.fault("synapse", status=403, body=json.dumps({"error": {"code": "Unauthorized", "message": said}}))
    twin.set("management", actions=["Microsoft.MachineLearningServices/workspaces/*/read"])
    twin.set("costs", actions=["Microsoft.CostManagement/*/read"])
    found = look()
    assert failures(found).keys() == {"lake", "synapse", "azureml", "registry", "costs"}
    assert "exports/run/action" in found["costs"].detail and "Cost Management Contributor" in found["costs"].detail
    assert "Storage Blob Data Contributor" in found["lake"].detail
    assert "Spark pool pool of Synapse workspace noria" in found["synapse"].detail
    assert "Synapse Compute Operator" in found["synapse"].detail
    assert "jobs/write" in found["azureml"].detail and "AzureML Data Scientist" in found["azureml"].detail
    assert "noria-production" in found["registry"].detail and "models/write" in found["registry"].detail


def test_deleted_container_workspace_pool_and_compute(twin: Twin, look: Any) -> None:
    gone = re.sub("//[^@]+@", "//gone@", twin.lake_url())
    found = look(
        NORIA_LAKE_URL=gone,
        **connection(twin, "azure_synapse_default", sparkPool="gone"),
        **connection(twin, "azureml_default", compute="gone"),
        **connection(twin, "azureml_production", workspace="gone"),
    )
    assert failures(found).keys() == {"lake", "synapse", "compute", "registry"}
    assert "container gone" in found["lake"].detail and "NORIA_LAKE_URL" in found["lake"].remedy
    assert "Spark pool gone" in found["synapse"].detail and "the connection" in found["synapse"].remedy
    assert "compute gone of Azure ML workspace noria" in found["compute"].detail
    assert "Azure ML workspace gone" in found["registry"].detail
    twin.set("management", deleted="noria")
    found = look()
    assert failures(found).keys() == {"azureml"}
    assert echoes(found) == {"compute", "quota", "environment", "datastore", "mlflow"}


def test_host_that_there_is_not_and_quota_that_this_identity_may_not_see(twin: Twin, look: Any) -> None:
    body = json.dumps({"error": {"code": "AuthorizationFailed", "message": "No."}})
    twin.fault("management", path="/locations/", status=403, body=body)
    found = look(**connection(twin, "azure_synapse_default", host="https://mistyped.nowhere.localhost:1"))
    assert failures(found).keys() == {"synapse"}
    assert "no connection" in found["synapse"].detail
    assert "the address in the connection" in found["synapse"].remedy
    assert found["quota"].status == "warn"
    assert "Reader on the subscription" in found["quota"].remedy


def test_full_quota_and_too_small_a_cluster(twin: Twin, look: Any) -> None:
    twin.set("management", vcpus_used=23)
    found = look()
    assert failures(found).keys() == {"quota"}
    assert "standardDSv2Family in westeurope: 23 of 24 vCPUs in use, a job takes 4" in found["quota"].detail
    assert "Wait for the others" in found["quota"].remedy
    twin.set("management", vcpus_used=0, vcpus_limit=8)
    found = look(**connection(twin, "azureml_default", nodes=3))
    assert failures(found).keys() == {"quota"}
    assert "Ask for more" in found["quota"].remedy
    found = look(**connection(twin, "azureml_default", nodes=9))
    assert failures(found).keys() == {"compute"}
    assert "at most 4 nodes, extra.nodes of azureml_default says 9" in found["compute"].detail


def test_service_that_is_down(twin: Twin, look: Any) -> None:
    twin.fault("storage", status=503)
    twin.fault("synapse", lose_response=True)
    twin.fault("management", status=500)
    found = look()
    assert failures(found).keys() == {"lake", "synapse", "azureml", "registry", "costs"}, "the datastore follows"
    assert "503" in found["lake"].detail and "https://status.azure.com" in found["lake"].remedy
    assert "no connection" in found["synapse"].detail
    assert "500" in found["azureml"].detail


def test_service_that_hangs_holds_up_nobody(twin: Twin, tmp_path: Path) -> None:
    twin.fault("storage", path="^/lake", delay_seconds=HANG_SECONDS)
    twin.fault("synapse", delay_seconds=HANG_SECONDS)
    began = tmp_path / "began"
    command = [sys.executable, "-c", DOCTOR, began, "doctor", "--profile", "azure", "--home", tmp_path, "--json"]
    environment = {**twin.environment, "NORIA_LAKE_URL": twin.lake_url()}
    said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=120, check=False)
    assert time.time() - float(began.read_text()) < 15, "from the first line of noria to the end of the process"
    assert said.returncode == 1
    found = {check["subject"]: Finding(**check) for check in json.loads(said.stdout)["checks"]}
    assert list(found) == SUBJECTS
    assert failures(found).keys() == {"lake", "synapse"}
    assert found["azureml"].status == found["registry"].status == "ok"


def test_checks_that_never_end_are_told(twin: Twin, tmp_path: Path) -> None:
    twin.fault("*", delay_seconds=HANG_SECONDS)
    started = time.monotonic()
    findings = examine(Settings.from_env(twin.environment, home=tmp_path), seconds=2.0)
    assert time.monotonic() - started < HANG_SECONDS / 2
    (identity,) = [finding for finding in findings if finding.subject == "identity"]
    assert "identity of adls_default" in identity.detail and "no answer within 2 s" in identity.detail
    assert "https://status.azure.com" in identity.remedy


def test_connections_from_the_key_vault(twin: Twin, tmp_path: Path) -> None:
    if "AIRFLOW__SECRETS__BACKEND" not in twin.airflow_environment:
        pytest.skip("this subscription's connections are in no Key Vault")

    def look(seconds: float = 30.0) -> dict[str, Finding]:
        environment = {**twin.airflow_environment, "NORIA_LAKE_URL": twin.lake_url(), "AIRFLOW_HOME": str(tmp_path)}
        assert not [name for name in environment if name.startswith("AIRFLOW_CONN_")]
        return {f.subject: f for f in examine(Settings.from_env(environment, home=tmp_path), seconds)}

    found = look()
    assert not failures(found)
    assert found["secrets"].detail.endswith("5 of the 5 connections come from it")
    assert "key vault https://noria.vault.localhost" in found["azureml_default"].detail
    refusal = {"code": "Forbidden", "message": "Caller is not authorized", "innererror": {"code": "ForbiddenByRbac"}}
    twin.fault("vault", status=403, body=json.dumps({"error": refusal}))
    found = look()
    assert failures(found).keys() == {"secrets"}
    assert "key vault https://noria.vault.localhost" in found["secrets"].detail
    assert "Key Vault Secrets User" in found["secrets"].detail
    assert echoes(found) == {*CONNECTIONS, "keys"}
    twin.reset()
    twin.fault("vault", delay_seconds=HANG_SECONDS)
    started = time.monotonic()
    found = look(seconds=2.0)
    assert time.monotonic() - started < HANG_SECONDS / 2
    assert "no answer within 1 s" in found["secrets"].detail


def test_a_key_that_is_not_there_or_too_short(twin: Twin, look: Any) -> None:
    found = look(AIRFLOW_CONN_NORIA_VERDICTS="")
    assert failures(found).keys() == {"keys"}
    assert "AIRFLOW_CONN_NORIA_VERDICTS is not set" in found["keys"].detail
    assert echoes(found) >= {"registry"}
    found = look(AIRFLOW_CONN_NORIA_VERDICTS='{"conn_type": "generic", "password": "planted-secret"}')
    assert failures(found).keys() == {"keys"}
    assert "at least 32" in found["keys"].detail and "planted" not in str(found)


def test_a_registry_written_to_around_noria(twin: Twin, look: Any, tmp_path: Path) -> None:
    """In the workspace of production, and in the one where candidates wait; many versions come in pages."""
    own, name = tmp_path / "own", f"p{uuid.uuid4().hex[:8]}"
    shutil.copytree(CHECKOUT / "include" / "pipelines" / "students", own / name)
    spec = own / name / "pipeline.yaml"
    spec.write_text(spec.read_text().replace("name: students", f"name: {name}", 1))
    key = json.loads(twin.environment["AIRFLOW_CONN_NORIA_VERDICTS"])["password"]
    production = open_azureml_registry(twin.connection(PRODUCTION), Keyring.parse(key))
    staging = open_azureml_registry(twin.connection(ML), Keyring.parse(key), staging=True)
    for number in range(3):
        one = judged_now(production, tmp_path, name, f"r{number}", keyring=Keyring.parse(key))
        one.register(staging)
        one.promote(production)
    twin.set("management", page=2)
    found = look(NORIA_PIPELINES=str(own))
    assert not failures(found), "all is well"
    assert "each version bears its verdict" in found["registry"].detail
    production._write_tags(name, "1", {"noria.crown": None})
    staging._write_tags(name, "2", {"noria.verdict": None})
    with production._files(production._client.datastores.get_default()) as files:  # type: ignore[attr-defined]
        path = production._client.models.get(name, "3").path.partition("/paths/")[2]  # type: ignore[attr-defined]
        files.upload_blob(f"{path}/model.skops", b"swapped", overwrite=True)
    found = look(NORIA_PIPELINES=str(own))
    assert failures(found).keys() == {"registry"}
    for words in (
        f"{name} version 1: it was made champion number 1 by hand",
        f"{name} version 3, the champion: its model file has SHA-256",
        f"staging: {name} version 2: it has no verdict",
    ):
        assert words in found["registry"].detail
