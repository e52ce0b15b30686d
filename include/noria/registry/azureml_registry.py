"""The registry in an Azure ML workspace.

One model for each pipeline. Coming in and becoming the champion are one write each, see docs/adr/0009.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from noria.azure import AzureConnection
from noria.azure.errors import Service, explained
from noria.azure.ml_client import ml_client
from noria.azure.renewal import Renewing, renewing
from noria.errors import BusyError, StorageError
from noria.records import Candidate, Run
from noria.registry.base import Registry, Uploaded
from noria.registry.package import MODEL_FILE, package
from noria.registry.versions import Stored, Versions
from noria.verdicts import Keyring

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Model
    from azure.storage.blob import ContainerClient

log = logging.getLogger(__name__)
_TAKEN = "Asset paths cannot be updated"
_GONE = "cannot be recreated"
_NO_WORKSPACE = ("ResourceNotFound", "ResourceGroupNotFound", "SubscriptionNotFound", "WorkspaceNotFound")
"""Azure Resource Manager's own; any other 404 is Azure ML's, and about the model."""
_LONGEST_DESCRIPTION = 5000
_MOST_DELETED = 50
_RETRIES = dict.fromkeys(("retry_total", "retry_connect", "retry_read", "retry_status"), 6)
"""Of a request to the storage account: 1 + 3 + 5 + 9 + 17 + 33 seconds."""


class AzureMLRegistry(Renewing, Registry):
    """Versions of models in Azure ML.

    Args:
        connection: The workspace.
        keyring: What verdicts are verified by.
        staging: Whether candidates only wait here.
    """

    def __init__(self, connection: AzureConnection, keyring: Keyring, *, staging: bool = False) -> None:
        super().__init__(keyring, staging=staging)
        self._connection = connection
        self._place = f"Azure ML workspace {connection.require('workspace')}"

    @override
    @renewing
    def _stored(self, name: str) -> list[Stored]:
        return [
            Stored(m.version, m.tags, m.creation_context.created_at.astimezone(UTC), m.path) for m in self._models(name)
        ]

    @override
    @renewing
    def _upload(self, run: Run, candidate: Candidate, model_file: Path) -> Uploaded:
        """Into the workspace's datastore."""
        with self._explained():
            store = self._client.datastores.get_default()
        path = f"noria/{run.pipeline.name}/{run.run_id}/{candidate.model_sha256[:12]}"
        with tempfile.TemporaryDirectory() as folder:
            package(Path(folder), model_file, candidate)
            with self._files(store) as files:
                for file in sorted(Path(folder).iterdir()):
                    with file.open("rb") as data:
                        files.upload_blob(f"{path}/{file.name}", data, overwrite=True, validate_content=True)
        return Uploaded(f"azureml://datastores/{store.name}/paths/{path}")

    @override
    @renewing
    def _create(self, run: Run, files: Uploaded, tags: Mapping[str, str], description: str, versions: Versions) -> str:
        from azure.ai.ml.entities import Model

        model = Model(
            name=run.pipeline.name,
            version=str(max((e.stored.number for e in versions.entries), default=0) + 1),
            path=files.source,
            type="mlflow_model",
            # The first three are what everything of a run bears on Azure.
            tags={"noria:pipeline": run.pipeline.name, "noria:run": run.run_id, "noria:stage": "promote", **tags},
            description=description[:_LONGEST_DESCRIPTION],
        )
        for _ in range(_MOST_DELETED):
            if (created := self._put(model)) is not None:
                return str(created.version)
            model.version = str(int(model.version) + 1)
        raise StorageError(f"{self._place}: the versions of {model.name} before {model.version} were deleted")

    @override
    @renewing
    def _write_tags(self, name: str, version: str, tags: Mapping[str, str | None]) -> None:
        with self._explained():
            model = self._client.models.get(name, version)
            merged = {**model.tags, **tags}
            model.tags = {key: value for key, value in merged.items() if value is not None}
            self._client.models.create_or_update(model)

    @override
    @renewing
    def _download(self, source: str, folder: Path) -> Path:
        datastore, path = split_uri(source)
        with self._explained():
            store = self._client.datastores.get(datastore)
        file, blob = folder / MODEL_FILE, f"{path}/{MODEL_FILE}"
        with self._files(store, blob) as files, file.open("wb") as into:
            files.download_blob(blob).readinto(into)
        return file

    @override
    def _aliases(self, name: str) -> None:
        """There are none: the tag `noria.champion` says it to readers outside."""

    def _put(self, model: Model) -> Model | None:
        """The new version, or nothing if there was one of this number that was deleted.

        It is asked for first, since the list may lag behind: the version of an earlier attempt stays as it is, because
        it may have become the champion.

        Raises:
            BusyError: Another run has made this version meanwhile.
        """
        from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

        with self._explained():
            with contextlib.suppress(ResourceNotFoundError):
                found = self._client.models.get(model.name, model.version)
                if split_uri(found.path) == split_uri(model.path):
                    return found
                raise self._taken(model)
            try:
                return self._client.models.create_or_update(model)
            except HttpResponseError as error:
                said = str(error.message)
                if _GONE in said:
                    return None
                if _TAKEN not in said:
                    raise
        raise self._taken(model)

    def _taken(self, model: Model) -> BusyError:
        return BusyError(
            f"{self._place}: another run has registered version {model.version} of {model.name} meanwhile",
            remedy="The task tries again, beside that version.",
        )

    @contextlib.contextmanager
    def _files(self, store: Any, wanted: str = "") -> Iterator[ContainerClient]:
        """The container behind a datastore, reached by Entra ID: no key of the account is asked for.

        `wanted` is the file that an error names.
        """
        from azure.storage.blob import ContainerClient, ExponentialRetry

        container = getattr(store, "container_name", None) or store.filesystem
        url = f"https://{store.account_name}.blob.{store.endpoint}"
        retries = ExponentialRetry(initial_backoff=1, increment_base=2, **_RETRIES)
        what = f"{self._place}: storage account {store.account_name}, container {container}"
        what += f", {wanted}" if wanted else ""
        with (
            explained(what, Service.ARTIFACTS),
            ContainerClient(url, container, credential=self._connection.credential(), retry_policy=retries) as files,
        ):
            yield files

    def _models(self, name: str) -> list[Model]:
        """All versions, archived ones too, since their numbers are taken; none if there is no such model."""
        from azure.core.exceptions import ResourceNotFoundError

        with self._explained():
            try:
                return list(self._client.models.list(name, list_view_type="All"))
            except ResourceNotFoundError as error:
                if error.error is not None and error.error.code in _NO_WORKSPACE:
                    raise
                return []

    def _explained(self) -> Any:
        return explained(self._place, Service.REGISTRY)

    @cached_property
    def _client(self) -> MLClient:
        return ml_client(self._connection)


def split_uri(uri: str) -> tuple[str, str]:
    """Datastore and path of azureml://…/datastores/NAME/paths/PATH."""
    place, found, path = uri.partition("/paths/")
    if not found:
        raise StorageError(f"the model's files are at {uri}", expected="azureml://…/datastores/NAME/paths/PATH")
    return place.rpartition("/datastores/")[2], path
