"""The containers that the control plane makes in the storage account, and what it hands out for them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient

    from tests.azure.twin.ml.state import Call
    from tests.azure.twin.state import TwinState

ARTIFACTS = "azureml"
"""Container of the artifact store, where logs are."""


class Blobs:
    """The workspace's storage account, the same as the lake's."""

    def __init__(self, state: TwinState) -> None:
        self._state = state
        self._made: set[str] = set()

    @property
    def account(self) -> str:
        return self._state.account

    @property
    def keys(self) -> bool:
        """Whether the datastore is reached by the account's key rather than by Entra ID: the knob `datastore_keys`."""
        return bool(self._state.knob("management", "datastore_keys", False))

    @property
    def endpoint(self) -> str:
        """Suffix of the account's host: core.localhost:PORT."""
        return self._state.url("storage").partition(".blob.")[2]

    def container(self, workspace: str) -> str:
        """The container of a workspace's default datastore."""
        return f"azureml-blobstore-{workspace}"

    def arm_id(self, call: Call) -> str:
        group = f"/subscriptions/{call.subscription}/resourceGroups/{call.group}"
        return f"{group}/providers/Microsoft.Storage/storageAccounts/{self.account}"

    def ensure(self, container: str) -> None:
        from azure.core.exceptions import ResourceExistsError

        if container not in self._made:
            with contextlib.suppress(ResourceExistsError):
                self._client.create_container(container)
            self._made.add(container)

    def sas(self, container: str) -> str:
        """Leave to read, write and list in a container for an hour."""
        from azure.storage.blob import ContainerSasPermissions, generate_container_sas

        signature = generate_container_sas(
            self.account, container, account_key=self._state.account_key,
            permission=ContainerSasPermissions(read=True, add=True, create=True, write=True, list=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )  # fmt: skip
        return self._state.plant(signature)

    def container_with_sas(self, container: str) -> tuple[str, str]:
        """A container's URL, and a SAS for it."""
        self.ensure(container)
        return f"{self._state.url('storage')}/{container}", self.sas(container)

    def download(self, container: str, prefix: str, target: Path) -> None:
        """All blobs below a prefix, into a folder."""
        client = self._client.get_container_client(container)
        part = target.with_name(f".{target.name}.part")

        def fetch(name: str) -> None:
            file = part / name.removeprefix(prefix).lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(client.download_blob(name).readall())

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(fetch, client.list_blob_names(name_starts_with=prefix)))
        part.rename(target)

    def write(self, container: str, name: str, data: bytes) -> None:
        """Put a blob, as a service does that has an identity of its own."""
        self._client.get_blob_client(container, name).upload_blob(data, overwrite=True)

    def publish(self, files: Mapping[str, Path]) -> dict[str, str]:
        """Put files into the artifact store; name -> URL that needs no other credential."""
        if not files:
            return {}
        self.ensure(ARTIFACTS)
        signature = self.sas(ARTIFACTS)
        for name, file in files.items():
            self._client.get_blob_client(ARTIFACTS, name).upload_blob(file.read_bytes(), overwrite=True)
        return {name: f"{self._state.url('storage')}/{ARTIFACTS}/{name}?{signature}" for name in files}

    @functools.cached_property
    def _client(self) -> BlobServiceClient:
        from azure.storage.blob import BlobServiceClient

        # Azurite itself, not the service before it: what the control plane does is no request of a caller's.
        url = f"https://127.0.0.1:{self._state.azurite_port}/{self.account}"
        key = {"account_name": self.account, "account_key": self._state.account_key}
        return BlobServiceClient(url, key, connection_verify=str(self._state.certificate.bundle))
