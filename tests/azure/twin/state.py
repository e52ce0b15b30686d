"""What all services of the twin share: where things are, what was seen, how it shall misbehave."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from noria.verdicts import CONNECTION as VERDICTS
from noria.verdicts import Keyring
from tests.azure.twin.certificate import Certificate

CHECKOUT = Path(__file__).resolve().parents[3]
GUARD = Path(__file__).resolve().parent / "guard"
ACCOUNT = "devstoreaccount1"
CONTAINER = "lake"
HOSTS = {
    "storage": f"{ACCOUNT}.blob.core.localhost",
    "vault": "noria.vault.localhost",
    "synapse": "noria.dev.azuresynapse.localhost",
    "management": "management.localhost",
}
TENANT = "7b1e0a52-5c1c-4a55-9d5c-2f3f0d2c7e11"
SUBSCRIPTION = "5a0c6ef0-3f3b-4d7b-8f6a-0c5d1b1d9a01"
RESOURCE_GROUP = "noria"
WORKSPACE, PRODUCTION_WORKSPACE = "noria", "noria-production"
SPARK_POOL, COMPUTE = "pool", "cluster"
TOKEN_HEADER = "X-Twin-Token"
KEEP_REQUESTS, KEEP_SECRETS = 100_000, 20_000


@dataclass
class Seen:
    """A request that came.

    Attributes:
        path: Without the query.
        query: With the signature of a SAS left out.
        status: None if no answer left, because it got lost or the caller went away.
        fault: Whether it was answered, delayed or lost by order of a test.
    """

    service: str
    method: str
    path: str
    query: str = ""
    status: int | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    fault: bool = False


@dataclass
class Fault:
    """How requests of a kind are mistreated.

    Attributes:
        service: Name of the service, or `*`.
        method: GET, PUT, …; none is any.
        path: Regular expression searched in path?query; none is any.
        times: So many requests; none is all.
        seconds: So long from now; none is for ever.
        after: So many requests of the kind are left alone first.
        status: Answer this without doing anything; with `headers` and `body`.
        delay_seconds: Wait before all else.
        hold_seconds: Do the work, then wait with the answer.
        lose_response: Do the work, then break the connection without an answer.
    """

    service: str
    method: str | None = None
    path: str | None = None
    times: int | None = None
    seconds: float | None = None
    after: int = 0
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    delay_seconds: float = 0.0
    hold_seconds: float = 0.0
    lose_response: bool = False
    begun: float = field(default_factory=time.monotonic)

    def takes(self, service: str, method: str, target: str) -> bool:
        """Whether this request is one of its own; if so it is counted."""
        if not self._concerns(service, method, target):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def _concerns(self, service: str, method: str, target: str) -> bool:
        return (
            self.service in ("*", service)
            and self.method in (None, method)
            and (self.path is None or re.search(self.path, target) is not None)
            and (self.times is None or self.times > 0)
            and (self.seconds is None or time.monotonic() - self.begun < self.seconds)
        )


@dataclass
class TwinState:
    """The twin from inside.

    Attributes:
        folder: All that it writes is below.
        port: Of TLS, where all services are.
        control_port: Of plain HTTP: identity and control.
        certificate: Files of the certificate.
        identity_header: What a caller of the identity endpoint must know.
        control_token: What who steers the twin must know; no environment has it.
        signing_key: Signs tokens.
        vault: Secrets by name.
        knobs: service -> knob -> value: misbehaviour that only that service knows.
        account_key: Of the storage account, new with each start: Azurite's own is known to everybody.
        azurite_port: Where Azurite itself is, for services that keep their files there.
        verdicts_key: Signs verdicts; the same with each start, like the lake and the registry that they are about.
    """

    folder: Path
    port: int
    control_port: int
    certificate: Certificate
    identity_header: str = field(default_factory=lambda: secrets.token_hex(16))
    control_token: str = field(default_factory=lambda: secrets.token_hex(16))
    signing_key: str = field(default_factory=lambda: secrets.token_hex(32))
    vault: dict[str, str] = field(default_factory=dict)
    knobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    seen: deque[Seen] = field(default_factory=lambda: deque(maxlen=KEEP_REQUESTS))
    planted: dict[str, None] = field(default_factory=dict)
    azurite_port: int = 0
    account: str = ACCOUNT
    account_key: str = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(64)).decode())
    container: str = CONTAINER
    tenant: str = TENANT
    subscription: str = SUBSCRIPTION
    resource_group: str = RESOURCE_GROUP
    verdicts_key: str = field(init=False)
    _log_lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.plant(self.identity_header)
        self.plant(self.control_token)
        self.plant(self.account_key)
        self.verdicts_key = self.plant(Keyring.at(self.folder / "verdicts.key").keys[0])
        for conn_id in self.connections():
            self.vault[f"airflow-connections-{conn_id.replace('_', '-')}"] = self.connections()[conn_id]
        self._own_secrets = dict(self.vault)

    def url(self, service: str) -> str:
        """Base address of a service, without a slash at its end."""
        if service in ("identity", "control"):
            return f"http://127.0.0.1:{self.control_port}"
        return f"https://{HOSTS[service]}:{self.port}"

    def lake_url(self, folder: str = "") -> str:
        """A folder of the lake as NORIA_LAKE_URL names it."""
        return f"abfss://{self.container}@{self.account}.dfs.core.localhost:{self.port}/{folder}".rstrip("/")

    @property
    def connection_string(self) -> str:
        """Of the storage account, with its key."""
        return (
            f"DefaultEndpointsProtocol=https;AccountName={self.account};AccountKey={self.account_key};"
            f"BlobEndpoint={self.url('storage')};"
        )

    @property
    def storage_account_id(self) -> str:
        """Its id in Azure Resource Manager."""
        group = f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
        return f"{group}/providers/Microsoft.Storage/storageAccounts/{self.account}"

    def knob(self, service: str, name: str, default: Any = None) -> Any:
        """A misbehaviour that a test has set, or the default."""
        return self.knobs.get(service, {}).get(name, default)

    def plant(self, secret: str) -> str:
        """Remember a secret that was handed out, so that tests can look for it in logs; the secret."""
        self.planted[secret] = None
        while len(self.planted) > KEEP_SECRETS:
            self.planted.pop(next(iter(self.planted)))
        return secret

    def log(self, text: str) -> None:
        """A line in the twin's log."""
        with self._log_lock, (self.folder / "twin.log").open("a") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    def reset(self) -> None:
        """Forget faults, knobs, records and secrets of tests."""
        self.faults.clear()
        self.knobs.clear()
        self.seen.clear()
        self.vault = dict(self._own_secrets)

    def connections(self) -> dict[str, str]:
        """Airflow connections in JSON, by id."""
        place = {"tenantId": self.tenant, "subscriptionId": self.subscription, "resourceGroup": self.resource_group}
        storage_host = f"{HOSTS['storage']}:{self.port}"
        machine_learning = place | {
            "compute": COMPUTE,
            "nodes": 1,
            "cloud": "LocalCloud",
            "cloudMetadata": {
                "resource_manager": self.url("management"),
                "active_directory": self.url("management"),
                "aml_resource_id": "https://ml.azure.com/",
                "azure_portal": self.url("management"),
                "registry_discovery_endpoint": self.url("management"),
                "storage_endpoint": f"core.localhost:{self.port}",
            },
        }
        wanted = {
            "adls_default": {
                "conn_type": "adls",
                "host": self.account,
                "extra": {"tenantId": self.tenant, "account_host": storage_host},
            },
            "azure_synapse_default": {
                "conn_type": "azure_synapse",
                "host": self.url("synapse"),
                "extra": place | {"sparkPool": SPARK_POOL},
            },
            "azureml_default": {"conn_type": "azure", "extra": machine_learning | {"workspace": WORKSPACE}},
            "azureml_production": {
                "conn_type": "azure",
                "extra": machine_learning | {"workspace": PRODUCTION_WORKSPACE},
            },
            "azure_costs": {
                "conn_type": "azure",
                "extra": {
                    "tenantId": self.tenant,
                    "cloudMetadata": machine_learning["cloudMetadata"],
                    "scope": f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}",
                    "storageAccountId": self.storage_account_id,
                },
            },
            VERDICTS: {"conn_type": "generic", "password": self.verdicts_key},
        }
        return {conn_id: json.dumps(facts) for conn_id, facts in wanted.items()}

    def environment(self) -> dict[str, str]:
        """What a process needs to live on the twin: the profile, the connections, the identity, the guard."""
        connections = {f"AIRFLOW_CONN_{conn_id.upper()}": text for conn_id, text in self.connections().items()}
        bundle = str(self.certificate.bundle)
        return {
            "NORIA_PROFILE": "azure",
            "NORIA_LAKE_URL": self.lake_url(),
            "IDENTITY_ENDPOINT": f"{self.url('identity')}/msi/token",
            "IDENTITY_HEADER": self.identity_header,
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "REQUESTS_CA_BUNDLE": bundle,
            "SSL_CERT_FILE": bundle,
            "NO_PROXY": "localhost,.localhost,127.0.0.1",
            "no_proxy": "localhost,.localhost,127.0.0.1",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(GUARD), os.environ.get("PYTHONPATH")))),
            "NORIA_TWIN_GUARD": str(self.folder / "guard.log"),
            **connections,
        }

    def airflow_environment(self) -> dict[str, str]:
        """The same for Airflow, which reads its connections from the Key Vault instead of from variables."""
        environment = {k: v for k, v in self.environment().items() if not k.startswith("AIRFLOW_CONN_")}
        backend = "airflow.providers.microsoft.azure.secrets.key_vault.AzureKeyVaultBackend"
        options = {"vault_url": self.url("vault"), "variables_prefix": None, "config_prefix": None}
        return environment | {
            "AIRFLOW__SECRETS__BACKEND": backend,
            "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(options),
        }

    def fault(self, service: str, method: str, target: str) -> Fault | None:
        """The fault that this request meets."""
        return next((f for f in self.faults if f.takes(service, method, target)), None)

    def requests(self, service: str | None, method: str | None, path: str | None) -> list[dict[str, Any]]:
        """Recorded requests of a kind, oldest first."""
        return [
            asdict(seen)
            for seen in tuple(self.seen)
            if service in (None, seen.service)
            and method in (None, seen.method)
            and (path is None or re.search(path, f"{seen.path}?{seen.query}"))
        ]

    def spawn(self, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        """Start a child that ends with the twin, however the twin ends; the same as subprocess.Popen otherwise."""
        from tests.azure.twin.children import CHILDREN

        return CHILDREN.spawn(command, **options)
