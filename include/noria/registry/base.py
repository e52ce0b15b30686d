"""The registry's interface, which every back end fulfils, and the table of back ends.

What lets a model in is the same everywhere and stands here; a back end stores versions and tags and no more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from noria.azure import AzureConnection
from noria.records import Candidate, ChampionVersion, Run, SignedVerdict
from noria.verdicts import Keyring

CHAMPION, CHALLENGER = "champion", "challenger"


class Registry(ABC):
    """Model versions by pipeline name. `champion` is the one in use, `challenger` the last one that was let in.

    A version comes in, and becomes the champion, only with a signed verdict for exactly its bytes. The champion is the
    version with the highest sequence number in a signed verdict; a number is taken once, so no verdict works twice.

    Args:
        keyring: What verdicts are verified by.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    @abstractmethod
    def champion(self, name: str) -> ChampionVersion | None:
        """The version in use, or none."""

    @abstractmethod
    def history(self, name: str) -> list[ChampionVersion]:
        """All versions that say what they are, newest first."""

    @abstractmethod
    def fetch(self, name: str, version: str, folder: Path) -> Path:
        """Download the model file (skops) of a version into `folder`; its bytes are checked against the tag."""

    @abstractmethod
    def register(self, run: Run, candidate: Candidate, verdict: SignedVerdict, model_file: Path) -> ChampionVersion:
        """Let a candidate in as the challenger; a second call for the same run and bytes changes nothing.

        The bytes are checked before the upload, and read back and checked after it.

        Raises:
            VerdictError: The verdict is not valid for these bytes, this pipeline or this run, or was used before.
            StaleVerdictError: There is another champion by now than it was reached against.
            StorageError: What was read back is not what was uploaded; the version is not made.
        """

    @abstractmethod
    def crown(self, name: str, version: str, verdict: SignedVerdict) -> ChampionVersion:
        """Make a version the champion, after its bytes were read back and checked; a repeated call changes nothing.

        Raises:
            VerdictError: The verdict is not valid for this version's bytes, or was used before.
            StaleVerdictError: There is another champion by now than it was reached against.
        """

    @abstractmethod
    def next_sequence(self, name: str) -> int:
        """The number that the next champion's verdict has to bear: one more than the last champion's."""

    @abstractmethod
    def audit(self, name: str) -> list[str]:
        """What was written around this interface, a sentence each with what to do; none where all is well.

        Versions without a verdict, with one that is forged or for other bytes; an alias that names another version than
        the signed verdicts do; a model file that is gone or changed.
        """


def open_registry(url: str, home: Path, keyring: Keyring) -> Registry:
    """The registry at an MLflow URI; `home` holds what is local (artifacts of a SQLite registry, locks)."""
    from noria.registry.mlflow_registry import MlflowRegistry

    return MlflowRegistry(url, home, keyring)


def open_azureml_registry(connection: AzureConnection, keyring: Keyring) -> Registry:
    """The registry in the Azure ML workspace of a connection."""
    from noria.registry.azureml_registry import AzureMLRegistry

    return AzureMLRegistry(connection, keyring)
