"""The registry in an Azure ML workspace.

One model for each pipeline. A version and its place as the champion are one write, see docs/adr/0009.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
from noria.records import Candidate, ChampionVersion, Decision, Run
from noria.registry.base import CHAMPION, Registry
from noria.registry.facts import tags_of, version_of
from noria.registry.package import MODEL_FILE, checked, package

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Model
    from azure.storage.blob import ContainerClient

log = logging.getLogger(__name__)
_TAKEN = "Asset paths cannot be updated"
_GONE = "cannot be recreated"
_NO_WORKSPACE = ("ResourceNotFound", "ResourceGroupNotFound", "SubscriptionNotFound", "WorkspaceNotFound")
"""Azure Resource Manager's own; any other 404 is Azure ML's, and about the model."""
_CHAMPION_TAG = f"noria.{CHAMPION}"
_LONGEST_DESCRIPTION = 5000
_MOST_DELETED = 50
_RETRIES = dict.fromkeys(("retry_total", "retry_connect", "retry_read", "retry_status"), 6)
"""Of a request to the storage account: 1 + 3 + 5 + 9 + 17 + 33 seconds."""


class AzureMLRegistry(Renewing, Registry):
    """Versions of models in Azure ML.

    The champion is the version with the highest number in the tag `noria.champion`.

    Args:
        connection: The workspace.
    """

    def __init__(self, connection: AzureConnection) -> None:
        self._connection = connection
        self._place = f"Azure ML workspace {connection.require('workspace')}"

    @override
    def champion(self, name: str) -> ChampionVersion | None:
        return next((v for v in self.history(name) if v.is_champion), None)

    @override
    @renewing
    def history(self, name: str) -> list[ChampionVersion]:
        return _Versions(self._models(name)).history

    @override
    @renewing
    def fetch(self, name: str, version: str, folder: Path) -> Path:
        with self._explained():
            found = self._client.models.get(name, version)
            datastore, path = _split(found.path)
            store = self._client.datastores.get(datastore)
        file = folder / MODEL_FILE
        with self._files(store) as files, file.open("wb") as into:
            files.download_blob(f"{path}/{MODEL_FILE}").readinto(into)
        return checked(file, found.tags["noria.model_sha256"], name, version)

    @override
    @renewing
    def register(self, run: Run, candidate: Candidate, decision: Decision, model_file: Path) -> ChampionVersion:
        if decision.verdict != "promote" or decision.dry_run:
            raise ValueError(f"verdict {decision.verdict}, dry run {decision.dry_run}: nothing to register")
        known = _Versions(self._models(run.pipeline.name))
        model = known.of_run(run.run_id)
        becomes_champion = known.champion == decision.previous_champion
        if model is None:
            model = self._create(run, candidate, decision, model_file, known, becomes_champion=becomes_champion)
        elif becomes_champion and _CHAMPION_TAG not in model.tags:
            model.tags[_CHAMPION_TAG] = known.next_champion_number
            with self._explained():
                model = self._client.models.create_or_update(model)
        return _Versions([*known.others(model), model]).get(model.version)

    def _create(
        self,
        run: Run,
        candidate: Candidate,
        decision: Decision,
        model_file: Path,
        known: _Versions,
        *,
        becomes_champion: bool,
    ) -> Model:
        """The files first, then the version, which makes them count."""
        from azure.ai.ml.entities import Model

        tags = tags_of(run, candidate, decision)
        if becomes_champion:
            tags[_CHAMPION_TAG] = known.next_champion_number
        model = Model(
            name=run.pipeline.name,
            version=known.next_version,
            path=self._upload(run, candidate, model_file),
            type="mlflow_model",
            tags=tags,
            description="; ".join(decision.reasons)[:_LONGEST_DESCRIPTION],
        )
        for _ in range(_MOST_DELETED):
            if (created := self._put(model)) is not None:
                return created
            model.version = str(int(model.version) + 1)
        raise StorageError(f"{self._place}: the versions of {model.name} before {model.version} were deleted")

    def _put(self, model: Model) -> Model | None:
        """The new version, or nothing if there was one of this number that was deleted.

        Raises:
            BusyError: Another run has made this version meanwhile.
        """
        from azure.core.exceptions import HttpResponseError

        with self._explained():
            try:
                return self._client.models.create_or_update(model)
            except HttpResponseError as error:
                said = str(error.message)
                if _GONE in said:
                    return None
                if _TAKEN not in said:
                    raise
        raise BusyError(
            f"{self._place}: another run has registered version {model.version} of {model.name} meanwhile",
            remedy="The task tries again, beside that version.",
        )

    def _upload(self, run: Run, candidate: Candidate, model_file: Path) -> str:
        """Put the model's files into the workspace's datastore; where they are.

        Every run has a folder of its own, so that no version can be written over: Azure ML never changes a path.
        """
        with self._explained():
            store = self._client.datastores.get_default()
        path = f"noria/{run.pipeline.name}/{run.run_id}/model"
        with tempfile.TemporaryDirectory() as folder:
            package(Path(folder), model_file, candidate)
            with self._files(store) as files:
                for file in sorted(Path(folder).iterdir()):
                    with file.open("rb") as data:
                        files.upload_blob(f"{path}/{file.name}", data, overwrite=True, validate_content=True)
        return f"azureml://datastores/{store.name}/paths/{path}"

    @contextmanager
    def _files(self, store: Any) -> Iterator[ContainerClient]:
        """The container behind a datastore, reached by Entra ID: no key of the account is asked for."""
        from azure.storage.blob import ContainerClient, ExponentialRetry

        container = getattr(store, "container_name", None) or store.filesystem
        url = f"https://{store.account_name}.blob.{store.endpoint}"
        retries = ExponentialRetry(initial_backoff=1, increment_base=2, **_RETRIES)
        what = f"{self._place}: storage account {store.account_name}, container {container}"
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


class _Versions:
    """The versions of one model, as one answer of the service had them."""

    def __init__(self, models: list[Model]) -> None:
        self._all = models
        self._ours = {m.version: m for m in models if "noria.run_id" in m.tags}

    @property
    def history(self) -> list[ChampionVersion]:
        """Newest first."""
        found = sorted(self._ours.values(), key=lambda m: _number(m.version), reverse=True)
        return [self.get(m.version) for m in found]

    @cached_property
    def champion(self) -> str | None:
        """The version with the highest number in its tag, the newer one of two."""
        crowned = [m for m in self._ours.values() if _CHAMPION_TAG in m.tags]
        first = max(crowned, key=lambda m: (_number(m.tags[_CHAMPION_TAG]), _number(m.version)), default=None)
        return first.version if first else None

    @property
    def next_champion_number(self) -> str:
        return str(max((_number(m.tags.get(_CHAMPION_TAG, "0")) for m in self._all), default=0) + 1)

    @property
    def next_version(self) -> str:
        return str(max((_number(m.version) for m in self._all), default=0) + 1)

    def of_run(self, run_id: str) -> Model | None:
        return next((m for m in self._ours.values() if m.tags["noria.run_id"] == run_id), None)

    def others(self, model: Model) -> list[Model]:
        return [m for m in self._all if m.version != model.version]

    def get(self, version: str) -> ChampionVersion:
        found = self._ours[version]
        created_at = found.creation_context.created_at.astimezone(UTC)
        return version_of(version, found.tags, created_at, is_champion=version == self.champion)


def _number(text: str) -> int:
    """A version that somebody else registered may have any name."""
    return int(text) if text.isdigit() else 0


def _split(uri: str) -> tuple[str, str]:
    """Datastore and path of azureml://…/datastores/NAME/paths/PATH."""
    place, found, path = uri.partition("/paths/")
    if not found:
        raise StorageError(f"the model's files are at {uri}", expected="azureml://…/datastores/NAME/paths/PATH")
    return place.rpartition("/datastores/")[2], path
