"""Both forms of a connection, as the installed Airflow writes and reads them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.models.connection import Connection as StoredConnection
from airflow.sdk import Connection as TaskConnection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from noria.azure import AzureConnection
from noria.errors import InputError

SECRET = "p@ss:w/o?rd&#%=ü"
CONNECTIONS: dict[str, dict[str, Any]] = {
    "a workspace's address": {
        "conn_type": "azure_synapse",
        "host": "https://noria.dev.azuresynapse.net",
        "extra": {"subscriptionId": "s", "tenantId": "t", "sparkPool": "small", "executors": 2},
    },
    "address and port in one": {"conn_type": "azure_synapse", "host": "https://noria.dev.localhost:4443", "extra": {}},
    "a port of its own": {"conn_type": "azure_synapse", "host": "https://noria.dev.localhost", "port": 4443},
    "a bare host": {"conn_type": "adls", "host": "noria.dfs.core.windows.net"},
    "a service principal": {
        "conn_type": "azure",
        "login": "3f2a-client@id",
        "password": SECRET,
        "extra": {"subscriptionId": "s", "tenantId": "t", "workspace": "w", "resourceGroup": "g"},
    },
    "nested": {
        "conn_type": "azure",
        "extra": {
            "workspace": "w",
            "nodes": 3,
            "flag": True,
            "cloudMetadata": {"resource_manager": "https://127.0.0.1:4443", "list": [1, {"a": "b"}]},
        },
    },
    "a connection string": {
        "conn_type": "adls",
        "extra": {"connection_string": "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2lnbmVk==;"},
    },
    "nothing but a type": {"conn_type": "azure"},
    "everything": {
        "conn_type": "azure_synapse",
        "host": "https://noria.dev.localhost",
        "schema": "s/c",
        "login": "client",
        "password": SECRET,
        "port": 4443,
        "extra": {"tenantId": "t", "deep": {"er": ["x", None]}},
    },
}


@pytest.mark.parametrize("case", CONNECTIONS)
@pytest.mark.parametrize("kind", [TaskConnection, StoredConnection])
@pytest.mark.parametrize("form", ["as_json", "get_uri"])
def test_what_airflow_writes_is_read_as_airflow_reads_it(case: str, kind: type[Any], form: str) -> None:
    facts = dict(CONNECTIONS[case])
    extra = facts.pop("extra", {})
    written = getattr(kind(conn_id="c", extra=json.dumps(extra) if extra else None, **facts), form)()
    read = AzureConnection.parse("c", written)
    airflows = kind.from_json(written, conn_id="c") if form == "as_json" else kind(conn_id="c", uri=written)
    port = f":{airflows.port}" if airflows.port else ""
    assert read.host == f"{airflows.host or ''}{port}"
    assert (read.login, read.password) == (airflows.login or "", airflows.password or "")
    assert read.extra == airflows.extra_dejson == extra
    wanted = facts.get("host", "") + (f":{facts['port']}" if "port" in facts else "")
    assert (read.host, read.password) == (wanted, facts.get("password", ""))


def test_uri_as_people_write_it() -> None:
    uri = "azure-synapse://client:p%40ss@/?tenantId=t&nodes=2&cloudMetadata=%7B%22a%22%3A%20%22b%22%7D&empty="
    read = AzureConnection.parse("c", uri)
    assert (read.login, read.password, read.host) == ("client", "p@ss", "")
    assert read.get("nodes") == "2"
    assert read.extra["cloudMetadata"] == {"a": "b"}
    assert AzureConnection.parse("c", "azure-synapse://https://noria.dev.azuresynapse.net").host == (
        "https://noria.dev.azuresynapse.net"
    )
    assert AzureConnection.parse("c", "adls://").extra == {}
    assert (
        AzureConnection.parse("c", '{"conn_type": "azure", "extra": "{\\"workspace\\": \\"w\\"}"}').get("workspace")
        == "w"
    )


def test_old_prefixes_of_the_provider_are_understood() -> None:
    extra = {"extra__azure_synapse__tenantId": "old", "extra__azure__subscriptionId": "s", "tenantId": "new"}
    read = AzureConnection.parse("c", json.dumps({"conn_type": "azure", "extra": extra}))
    assert read.extra == {"tenantId": "new", "subscriptionId": "s"}


@pytest.mark.parametrize(
    "text",
    [
        "planted",
        '{"password": "planted"',
        '{"extra": ["planted"]}',
        '{"extra": "planted"}',
        "://planted",
        "azure://h:planted",
    ],
)
def test_what_is_neither_is_refused_without_its_text(text: str) -> None:
    with pytest.raises(InputError, match="connection c cannot be read") as caught:
        AzureConnection.parse("c", text)
    assert "planted" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_secrets_are_in_no_representation() -> None:
    extra = {"connection_string": "AccountKey=planted", "tenantId": "t"}
    read = AzureConnection.parse("c", json.dumps({"login": "client", "password": "planted", "extra": extra}))
    for text in (repr(read), str(read), f"{read}", repr({"c": read}), read.identity, repr(read.credential())):
        assert "planted" not in text
    assert hash(read)


def test_missing_key_is_named() -> None:
    with pytest.raises(
        InputError, match=r"connection azureml_default has no 'workspace'; expected a text at extra\.workspace"
    ):
        AzureConnection("azureml_default").require("workspace")


def _credential(**facts: Any) -> Any:
    return AzureConnection("c", **facts).credential()


def test_identity_follows_from_what_is_there() -> None:
    from azure.identity import ClientSecretCredential, DefaultAzureCredential

    principal = _credential(login="client", password="secret", extra={"tenantId": "t"})
    assert isinstance(principal, ClientSecretCredential)
    assert isinstance(_credential(login="client", password="secret", extra={"tenant_id": "t"}), ClientSecretCredential)
    assert isinstance(_credential(extra={"tenantId": "t"}), DefaultAzureCredential)
    assert isinstance(_credential(login="client"), DefaultAzureCredential)
    with pytest.raises(InputError, match="tenantId"):
        _credential(login="client", password="secret")
    connection = AzureConnection("c")
    assert connection.credential() is connection.credential(), "it keeps the tokens"


def test_user_assigned_identity_and_workload_identity_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr("azure.identity.DefaultAzureCredential", lambda **options: asked.update(options))
    _credential(extra={"managed_identity_client_id": "m", "workload_identity_tenant_id": "w", "other": "o"})
    given = {name: value for name, value in asked.items() if not name.startswith("retry")}
    assert given == {"managed_identity_client_id": "m", "workload_identity_tenant_id": "w"}


@pytest.mark.parametrize(
    ("extra", "host"),
    [
        ({}, "login.microsoftonline.com"),
        ({"cloud_environment": "AzureUSGovernment"}, "login.microsoftonline.us"),
        ({"cloud": "AzureChinaCloud"}, "login.chinacloudapi.cn"),
        ({"authority": "https://login.example.com"}, "login.example.com"),
    ],
)
def test_sovereign_clouds_sign_in_at_their_own(extra: dict[str, str], host: str) -> None:
    principal = _credential(login="client", password="secret", extra={"tenantId": "t", **extra})
    assert principal._authority == f"https://{host}"


@pytest.fixture(scope="module")
def certificate() -> str:
    """A self-signed certificate and its private key, in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "noria")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (secret + made.public_bytes(serialization.Encoding.PEM)).decode()


def test_service_principal_with_a_certificate(certificate: str, tmp_path: Path) -> None:
    from azure.identity import CertificateCredential

    file = tmp_path / "client.pem"
    file.write_text(certificate)
    for extra in ({"certificate_path": str(file)}, {"certificate_data": certificate}):
        connection = AzureConnection("c", login="client", extra={"tenantId": "t", **extra})
        assert isinstance(connection.credential(), CertificateCredential)
        assert connection.identity == "service principal client with a certificate"


@pytest.mark.parametrize("extra", [{"certificate_path": "/no/such.pem"}, {"certificate_data": "planted"}])
def test_certificate_that_cannot_be_read(extra: dict[str, str]) -> None:
    with pytest.raises(InputError, match="certificate of connection c cannot be read") as caught:
        _credential(login="client", extra={"tenantId": "t", **extra})
    assert "planted" not in str(caught.value)
