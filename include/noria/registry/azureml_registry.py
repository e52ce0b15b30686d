"""The registry in an Azure ML workspace."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from typing_extensions import override

from noria.azure import AzureConnection
from noria.records import Candidate, ChampionVersion, Decision, Run
from noria.registry.base import Registry


class AzureMLRegistry(Registry):
    """Versions of models in Azure ML."""

    def __init__(self, connection: AzureConnection) -> None:
        self._connection = connection

    @override
    def lock(self, name: str) -> AbstractContextManager[object]:
        raise NotImplementedError

    @override
    def champion(self, name: str) -> ChampionVersion | None:
        raise NotImplementedError

    @override
    def history(self, name: str) -> list[ChampionVersion]:
        raise NotImplementedError

    @override
    def fetch(self, name: str, version: str, folder: Path) -> Path:
        raise NotImplementedError

    @override
    def register(self, run: Run, candidate: Candidate, decision: Decision, model_file: Path) -> ChampionVersion:
        raise NotImplementedError
