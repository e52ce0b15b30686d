"""The containers that the control plane makes in the storage account, and what it hands out for them."""

from __future__ import annotations

import contextlib
import functools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient

    from tests.azure.twin.ml.state import Call
    from tests.azure.twin.state import TwinState


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

    @functools.cached_property
    def _client(self) -> BlobServiceClient:
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient.from_connection_string(
            self._state.connection_string, connection_verify=str(self._state.certificate.bundle)
        )
