"""The registry in MLflow: on SQLite under the home folder, or on a server.

One MLflow experiment and one registered model for each pipeline; one MLflow run for each promoted run, with the model
file as its artifact. What belongs together is found again by the tag `noria.run_id`, so every step can be repeated.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from typing_extensions import override

from noria.errors import StorageError, StorageUnavailableError
from noria.records import Candidate, Run
from noria.registry.base import Registry, Uploaded
from noria.registry.package import MODEL_FILE, package
from noria.registry.versions import Stored, Versions
from noria.settings import without_userinfo
from noria.verdicts import Keyring

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)
_LOCK_SECONDS = 120
_FOLDER = "model"


class MlflowRegistry(Registry):
    """Versions of models in MLflow.

    Args:
        url: MLflow URI.
        home: Artifacts of a SQLite registry are under home/registry, locks under home/locks.
        keyring: What verdicts are verified by.
        staging: Whether candidates only wait here.
    """

    longest_tag = 5000
    """What every MLflow server keeps; newer ones keep more."""

    def __init__(self, url: str, home: Path, keyring: Keyring, *, staging: bool = False) -> None:
        super().__init__(keyring, staging=staging)
        self._url, self._home = url, home
        self._local = url.startswith("sqlite:///")
        self._client = self._connect()

    @override
    def _stored(self, name: str) -> list[Stored]:
        with _translated(self._url):
            return [
                Stored(str(v.version), v.tags, datetime.fromtimestamp(v.creation_timestamp / 1000, UTC), v.source)
                for v in self._found(name)
            ]

    @override
    def _upload(self, run: Run, candidate: Candidate, model_file: Path) -> Uploaded:
        """As artifacts of the MLflow run of this run."""
        folder = f"{_FOLDER}-{candidate.model_sha256[:12]}"
        with _translated(self._url):
            tracked = self._tracked_run(run, candidate)
            with tempfile.TemporaryDirectory(dir=_scratch(self._home)) as packed:
                package(Path(packed), model_file, candidate)
                self._client.log_artifacts(tracked.info.run_id, packed, folder)
            self._client.set_terminated(tracked.info.run_id)
        return Uploaded(f"{tracked.info.artifact_uri}/{folder}", tracked.info.run_id)

    @override
    def _create(self, run: Run, files: Uploaded, tags: Mapping[str, str], description: str, versions: Versions) -> str:
        with _translated(self._url):
            self._ensure_model(run)
            version = self._client.create_model_version(
                run.pipeline.name, files.source, files.tracked_run, tags=dict(tags), description=description
            )
        return str(version.version)

    @override
    def _write_tags(self, name: str, version: str, tags: Mapping[str, str | None]) -> None:
        with _translated(self._url):
            for key, value in tags.items():
                if value is None:
                    self._client.delete_model_version_tag(name, version, key)
                else:
                    self._client.set_model_version_tag(name, version, key, value)

    @override
    def _download(self, source: str, folder: Path) -> Path:
        from mlflow.artifacts import download_artifacts

        with _translated(self._url):
            file = f"{source.rstrip('/')}/{MODEL_FILE}"
            return Path(download_artifacts(file, dst_path=str(folder), tracking_uri=self._url))

    @override
    def _aliases(self, name: str) -> Mapping[str, str]:
        from mlflow.exceptions import MlflowException

        with _translated(self._url):
            try:
                aliases = self._client.get_registered_model(name).aliases
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return {}
        return {alias: str(version) for alias, version in aliases.items()}  # SQLite gives a number, a server text

    @override
    def _set_alias(self, name: str, alias: str, version: str) -> None:
        with _translated(self._url):
            self._client.set_registered_model_alias(name, alias, version)

    def _connect(self) -> MlflowClient:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("DO_NOT_TRACK", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        from mlflow import MlflowClient

        for noisy in ("mlflow", "alembic"):  # importing MLflow sets them again
            logging.getLogger(noisy).setLevel(logging.ERROR)
        with _translated(self._url):
            if self._local:
                self._make_database(Path(self._url.removeprefix("sqlite:///")))
            return MlflowClient(tracking_uri=self._url, registry_uri=self._url)

    def _make_database(self, file: Path) -> None:
        """Make the database beside its place and move it there: MLflow's migrations bear neither company nor a kill."""
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        artifacts, locks = self._home / "registry" / "artifacts", self._home / "locks"
        for folder in (artifacts, locks, file.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / "registry-database.lock", timeout=_LOCK_SECONDS):
            if file.exists():
                return
            log.info("making the registry's database")
            fresh = file.with_suffix(".new")
            fresh.unlink(missing_ok=True)
            SqlAlchemyStore(f"sqlite:///{fresh}", artifacts.as_uri())._dispose_engine()
            fresh.replace(file)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = (self._home / "registry" / "artifacts" / name).as_uri() if self._local else None
        return str(self._client.create_experiment(name, artifact_location=location))

    def _ensure_model(self, run: Run) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_registered_model(run.pipeline.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            self._client.create_registered_model(run.pipeline.name, description=run.pipeline.description)

    def _found(self, name: str) -> Iterator[ModelVersion]:
        token: str | None = None
        while True:
            page = self._client.search_model_versions(f"name = '{name}'", page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _tracked_run(self, run: Run, candidate: Candidate) -> Any:
        """The MLflow run of this run, with its figures: the one that an earlier attempt left, or a new one."""
        from mlflow.entities import Metric, Param

        experiment = self._experiment(run.pipeline.name)
        found = self._client.search_runs([experiment], f"tags.`noria.run_id` = '{run.run_id}'", max_results=1)
        facts = {"noria.run_id": run.run_id, "noria.snapshot_id": candidate.snapshot_id, "noria.code": candidate.code}
        tracked = found[0] if found else self._client.create_run(experiment, run_name=run.run_id, tags=facts)
        now = tracked.info.start_time
        metrics = [Metric(f"holdout_{k}", v, now, 0) for k, v in candidate.metrics.items()]
        metrics += [Metric(f"cv_{k}_mean", s.mean, now, 0) for k, s in candidate.spread.items()]
        params = [Param("estimator", candidate.estimator), *(Param(k, str(v)) for k, v in candidate.params.items())]
        self._client.log_batch(tracked.info.run_id, metrics=metrics, params=params)
        return tracked


def _scratch(home: Path) -> Path:
    folder = home / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    """What MLflow and its database say becomes an error that names the registry, without the password in its URL."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        kind = StorageUnavailableError if _passes(error) else StorageError
        raise kind(
            without_userinfo(f"the registry {url} refused: {_on_one_line(str(error))}", url),
            remedy="Check that it is reachable and writable (noria doctor).",
        ) from None  # a traceback would tell the error's own text, and so the password


def _on_one_line(text: str) -> str:
    """What MLflow says about several files, without its headings."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#####"))


def _passes(error: Exception) -> bool:
    """Whether trying again may help: no connection, a server in trouble (5xx), a locked database."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import OperationalError

    if isinstance(error, MlflowException):  # what it says of a lost connection has the status 500
        return int(error.get_http_status_code()) >= 500
    return isinstance(error, OperationalError | RequestException | ConnectionError | TimeoutError)
