"""The registry's interface, which every back end fulfils, and the table of back ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from noria.azure import AzureConnection
from noria.records import Candidate, ChampionVersion, Decision, Run

CHAMPION = "champion"


class Registry(ABC):
    """Model versions by pipeline name; the alias `champion` names the one in use."""

    @abstractmethod
    def champion(self, name: str) -> ChampionVersion | None:
        """The version that bears the alias, or none."""

    @abstractmethod
    def history(self, name: str) -> list[ChampionVersion]:
        """All versions, newest first."""

    @abstractmethod
    def fetch(self, name: str, version: str, folder: Path) -> Path:
        """Download the model file (skops) of a version into `folder`; its bytes are checked against the tag."""

    @abstractmethod
    def register(self, run: Run, candidate: Candidate, decision: Decision, model_file: Path) -> ChampionVersion:
        """Register the candidate and move the alias to it; a second call for the same run and bytes changes nothing.

        Raises:
            ValueError: The verdict does not say promote, or it is a dry run.
        """


def open_registry(url: str, home: Path) -> Registry:
    """The registry at an MLflow URI; `home` holds what is local (artifacts of a SQLite registry, locks)."""
    from noria.registry.mlflow_registry import MlflowRegistry

    return MlflowRegistry(url, home)


def open_azureml_registry(connection: AzureConnection) -> Registry:
    """The registry in the Azure ML workspace of a connection."""
    from noria.registry.azureml_registry import AzureMLRegistry

    return AzureMLRegistry(connection)
