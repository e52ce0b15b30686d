"""The twin's control plane of Azure ML, spoken to by Azure's own SDK, and by hand where the SDK says nothing wrong."""

import json
import logging
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import MLClient
from azure.ai.ml.entities import Environment, Model
from azure.ai.ml.entities._assets._artifacts.code import Code
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from noria.azure import ML, PRODUCTION
from noria.azure.ml_client import ml_client
from tests.azure.twin.client import Twin
from tests.azure.twin.ml import bodies

pytestmark = pytest.mark.slow


@pytest.fixture
def client(twin: Twin) -> MLClient:
    return ml_client(twin.connection(ML))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return str(request.node.name).replace("[", "-").rstrip("]")[:60]


def a_model(name: str, version: str = "1", **options: Any) -> Model:
    path = f"azureml://datastores/workspaceblobstore/paths/{name}/{version}"
    return Model(name=name, version=version, **{"path": path, "type": "mlflow_model", **options})


def put(client: MLClient, twin: Twin, path: str, body: Any) -> tuple[int, dict[str, Any]]:
    """A PUT below the workspace, without the SDK; status and body of the answer."""
    extra = twin.connection(ML).extra
    token = client._credential.get_token("https://management.azure.com/.default").token
    url = (
        f"{extra['cloudMetadata']['resource_manager']}/subscriptions/{extra['subscriptionId']}/resourceGroups/"
        f"{extra['resourceGroup']}/providers/Microsoft.MachineLearningServices/workspaces/{extra['workspace']}/{path}"
    )
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="PUT")
    trust = ssl.create_default_context(cafile=twin.environment["SSL_CERT_FILE"])
    try:
        with urllib.request.urlopen(request, context=trust, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_workspace_says_where_things_are(client: MLClient) -> None:
    workspace = client.workspaces.get(client.workspace_name)
    assert workspace.location and workspace.mlflow_tracking_uri.startswith("azureml://")
    assert workspace.storage_account.endswith("/devstoreaccount1")
    store = client.datastores.get_default()
    assert (store.name, store.type, store.account_name) == ("workspaceblobstore", "AzureBlob", "devstoreaccount1")
    assert [s.name for s in client.datastores.list()] == [store.name]
    assert client.compute.get("cluster").max_instances == 4
    assert [u.unit for u in client.compute.list_usage(location=workspace.location)] == ["Count"]


def test_the_two_workspaces_know_nothing_of_each_other(client: MLClient, twin: Twin, name: str) -> None:
    client.models.create_or_update(a_model(name))
    other = ml_client(twin.connection(PRODUCTION))
    assert other.workspaces.get(other.workspace_name).name == "noria-production"
    assert list(other.models.list(name)) == []


def test_versions_of_a_model(client: MLClient, name: str) -> None:
    for version in ("1", "2"):
        made = client.models.create_or_update(a_model(name, version, tags={"a": "b"}, description="d"))
        assert (made.version, made.tags, made.description, made.type) == (version, {"a": "b"}, "d", "mlflow_model")
        assert made.creation_context.created_at is not None
    assert [m.version for m in client.models.list(name)] == ["2", "1"]
    assert client.models.get(name, label="latest").version == "2"
    assert next(m.latest_version for m in client.models.list() if m.name == name) == "2"
    client.models.archive(name, "2")
    assert [m.version for m in client.models.list(name)] == ["1"]
    assert len(list(client.models.list(name, list_view_type="All"))) == 2
    client.models.restore(name, "2")
    assert len(list(client.models.list(name))) == 2
    with pytest.raises(ResourceNotFoundError):
        client.models.get(name, "3")


def test_a_version_without_a_number_gets_the_next_one(client: MLClient, name: str) -> None:
    path = f"azureml://datastores/workspaceblobstore/paths/{name}"
    made = [client.models.create_or_update(Model(name=name, path=f"{path}/{i}")).version for i in range(2)]
    assert made == ["1", "2"]


def test_long_lists_come_in_pages(client: MLClient, twin: Twin, name: str) -> None:
    twin.set("management", page=2)
    for number in range(1, 6):
        client.models.create_or_update(a_model(name, str(number)))
    twin.reset()
    twin.set("management", page=2)
    assert [m.version for m in client.models.list(name)] == ["5", "4", "3", "2", "1"]
    assert len(twin.requests("management", "GET", rf"models/{name}/versions")) == 3


def test_where_a_version_is_never_changes(client: MLClient, name: str) -> None:
    client.models.create_or_update(a_model(name))
    with pytest.raises(HttpResponseError, match="Asset paths cannot be updated"):
        client.models.create_or_update(a_model(name, path="azureml://datastores/workspaceblobstore/paths/other"))


@pytest.mark.parametrize("tags", [{"k" * 101: "v"}, {"k": "v" * 1001}, {str(i): "v" for i in range(51)}])
def test_tags_have_limits(client: MLClient, name: str, tags: dict[str, str]) -> None:
    with pytest.raises(HttpResponseError, match="limits"):
        client.models.create_or_update(a_model(name, tags=tags))


def test_the_same_code_is_found_by_its_hash(client: MLClient, twin: Twin, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "job.py").write_text(f"print({name!r})")
    first = client._code.create_or_update(Code(name=name, version="1", path=folder))
    assert first.path.startswith("https://devstoreaccount1.blob.core.localhost")
    twin.reset()
    assert client._code.create_or_update(Code(name=name, version="2", path=folder)).version == "1"
    assert twin.requests("storage") == [] and twin.requests("management", "PUT") == []


def test_an_environment_is_kept(client: MLClient, name: str) -> None:
    made = client.environments.create_or_update(Environment(name=name, version="abc", image="mcr.microsoft.com/x"))
    assert client.environments.get(name, "abc").image == made.image == "mcr.microsoft.com/x"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"properties": {"modelUri": 5}}, "modelUri: got int 5, expected str"),
        ({"properties": {"modelUri": "x", "nonsense": 1}}, "ModelVersionProperties has no such key"),
        ({}, "properties: missing"),
        ({"properties": {"provisioningState": "Succeeded"}}, "only the service sets it"),
    ],
)
def test_a_wrong_body_is_refused_and_kept_for_the_test(
    client: MLClient, twin: Twin, name: str, body: dict[str, Any], fault: str
) -> None:
    status, said = put(client, twin, f"models/{name}/versions/1?api-version=2025-12-01", body)
    assert (status, said["error"]["code"]) == (400, "InvalidRequestBody") and fault in said["error"]["message"]
    (wrong,) = twin.wrong_bodies()
    assert fault in wrong
    assert list(client.models.list(name)) == []


def test_an_api_version_is_needed(client: MLClient, twin: Twin, name: str) -> None:
    status, said = put(client, twin, f"models/{name}/versions/1", {"properties": {}})
    assert (status, said["error"]["code"]) == (400, "MissingApiVersionParameter")


JOB = {"jobType": "Command", "command": "true", "environmentId": "e"}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, ""),
        ({"jobType": "Nonsense"}, "jobType: got 'Nonsense', expected one of "),
        ({"command": None}, "command: got NoneType"),
        ({"inputs": {"a": {"jobInputType": "literal"}}}, "inputs.a.value: missing"),
        ({"inputs": {"a": {"jobInputType": "uri_folder", "uri": "u", "mode": "Nonsense"}}}, "mode: got 'Nonsense'"),
        ({"resources": {"instanceCount": "two"}}, "instanceCount: got str 'two', expected int"),
        ({"limits": {"jobLimitsType": "Sweep", "maxTotalTrials": True}}, "limits"),
    ],
)
def test_a_job_is_held_against_azures_own_model(changes: dict[str, Any], fault: str) -> None:
    found = bodies.faults("JobBase", {"properties": {**JOB, **changes}})
    assert (fault in "; ".join(found)) if fault else not found


def test_a_failed_upload_is_an_error_and_no_wait_without_end(
    client: MLClient, twin: Twin, name: str, tmp_path: Path
) -> None:
    """With its progress hidden the SDK drops the error and waits for ever."""
    (tmp_path / "model").mkdir()
    for file in ("MLmodel", "model.skops"):
        (tmp_path / "model" / file).write_text(name)
    twin.fault("storage", method="PUT", status=403, headers={"x-ms-error-code": "AuthorizationPermissionMismatch"})
    with pytest.raises(HttpResponseError, match="AuthorizationPermissionMismatch"):
        client.models.create_or_update(Model(name=name, version="1", path=tmp_path / "model", type="mlflow_model"))


def test_an_upload_draws_no_bar(
    client: MLClient, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "job.py").write_text(name)
    client._code.create_or_update(Code(name=name, version="1", path=tmp_path / "code"))
    said = capsys.readouterr()
    assert "%" not in said.err and "Upload" not in said.err and said.out == ""
    assert not any(r.name.startswith(("azure.core", "azure.identity")) for r in caplog.records)
