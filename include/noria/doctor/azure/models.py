"""The models of an Azure ML workspace, looked at once, and without the SDK that takes seconds to import."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from typing_extensions import override

from noria.azure import AzureConnection
from noria.azure.errors import Service, explained
from noria.doctor.azure.arm import Arm
from noria.doctor.azure.lake import container_client
from noria.registry.azureml_registry import split_uri
from noria.registry.package import MODEL_FILE
from noria.registry.reading import Reading
from noria.registry.versions import Stored
from noria.verdicts import Keyring


class Models(Reading):
    """What the registry holds.

    Args:
        connection: The workspace.
        keyring: What verdicts are verified by.
    """

    def __init__(self, connection: AzureConnection, keyring: Keyring) -> None:
        super().__init__(keyring)
        self._connection = connection
        self._place = f"Azure ML workspace {connection.get('workspace')}"
        self._arm = Arm(connection, self._place, Service.REGISTRY)

    @override
    def _stored(self, name: str) -> list[Stored]:
        found = self._arm.every(f"/models/{name}/versions", f"versions of model {name}", listViewType="All")
        return [
            Stored(
                version["name"],
                version["properties"].get("tags") or {},
                datetime.fromisoformat(version["systemData"]["createdAt"]).astimezone(UTC),
                version["properties"].get("modelUri") or "",
            )
            for version in found
        ]

    @override
    def _download(self, source: str, folder: Path) -> Path:
        datastore, path = split_uri(source)
        facts = self._arm.workspace(f"/datastores/{datastore}", f"datastore {datastore}")["properties"]
        account, container = facts.get("accountName"), facts.get("containerName") or facts.get("filesystem")
        host = f"{account}.blob.{facts.get('endpoint') or 'core.windows.net'}"
        file, blob = folder / MODEL_FILE, f"{path}/{MODEL_FILE}"
        with (
            explained(f"{self._place}: storage account {account}, container {container}, {blob}", Service.ARTIFACTS),
            container_client(f"https://{host}", container, self._connection) as files,
            file.open("wb") as into,
        ):
            files.download_blob(blob).readinto(into)
        return file

    @override
    def _aliases(self, name: str) -> None:
        """There are none."""
