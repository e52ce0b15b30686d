"""What a registry holds, and how much of it is proven. Whoever may only look sees the same as whoever may promote."""

from __future__ import annotations

import hashlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from noria.errors import AccessError, StorageError, UnavailableError, VerdictError
from noria.records import ChampionVersion
from noria.registry.audit import bytes_finding, findings, strangers
from noria.registry.facts import MODEL
from noria.registry.package import checked
from noria.registry.versions import Entry, Stored, Versions
from noria.verdicts import Keyring


class Reading(ABC):
    """Model versions by pipeline name, as far as signed verdicts prove them.

    Args:
        keyring: What verdicts are verified by.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def champion(self, name: str) -> ChampionVersion | None:
        """The version in use, or none."""
        versions = self._versions(name)
        return versions.describe(versions.champion) if versions.champion else None

    def history(self, name: str) -> list[ChampionVersion]:
        """All versions that say what they are, newest first; those that came in around the verdicts have none."""
        return self._versions(name).history

    def next_sequence(self, name: str) -> int:
        """The number that the next champion's verdict has to bear: one more than the last champion's."""
        return self._versions(name).next_sequence

    def fetch(self, name: str, version: str, folder: Path) -> Path:
        """Download the model file (skops) of a version into `folder`; its bytes are checked against the tag.

        Raises:
            InputError: It has other bytes.
            StorageError: There is no such version, or no such file.
        """
        stored = self._present(self._versions(name), version).stored
        return checked(self._download(stored.source, folder), stored.tags.get(MODEL, "(no tag)"), name, version)

    def audit(self, name: str, *, unread: str | None = None) -> list[str]:
        """What was written around this interface, a sentence each with what to do; none where all is well.

        A version without a valid verdict that may be taken for the champion; facts in tags that are not those of the
        verdict; an alias that names another version than the signed verdicts do; a champion or challenger whose model
        file is gone or changed.

        Args:
            name: Of the pipeline.
            unread: A version whose model file is left alone, since the caller has looked at it already.
        """
        versions = self._versions(name)
        found = findings(versions, self._aliases(name))
        used = {id(e): e for e in (versions.champion, versions.challenger) if e and e.stored.version != unread}
        for entry in used.values():
            try:
                self._check_bytes(name, entry)
            except (VerdictError, StorageError) as error:
                if isinstance(error, UnavailableError | AccessError):
                    raise
                found.append(bytes_finding(versions, entry, error.got))
        return found

    def strangers(self, name: str) -> list[str]:
        """Versions without a valid verdict that nobody can take for the champion, a sentence each."""
        return strangers(self._versions(name), self._aliases(name))

    # What a back end gives

    @abstractmethod
    def _stored(self, name: str) -> list[Stored]:
        """All versions, also those of others; none if there is no such model."""

    @abstractmethod
    def _download(self, source: str, folder: Path) -> Path:
        """The model file at a place, as it is there now.

        Raises:
            StorageError: It is gone.
        """

    @abstractmethod
    def _aliases(self, name: str) -> Mapping[str, str] | None:
        """Alias -> version; none if the back end has no such thing."""

    # What stands on it

    def _versions(self, name: str) -> Versions:
        return Versions(name, self._stored(name), self._keyring)

    def _present(self, versions: Versions, version: str) -> Entry:
        if entry := versions.find(version):
            return entry
        known = ", ".join(e.stored.version for e in versions.entries) or "(none)"
        raise StorageError(f"{versions.name} has no version {version}", expected=f"one of {known}")

    def _check_bytes(self, name: str, entry: Entry) -> None:
        """The version's file has the bytes that its verdict is about.

        Raises:
            VerdictError: It has others.
            StorageError: It is gone.
        """
        signed = entry.verdict.model_sha256 if entry.verdict else ""
        with self._read(entry.stored.source) as file:
            if (got := sha256_of(file)) != signed:
                raise VerdictError(
                    f"its model file has SHA-256 {got}, and the verdict is about {signed}",
                    expected=f"the bytes of {name} version {entry.stored.version} as they were judged",
                    remedy="The file was changed after it was judged. Delete the version, and train again.",
                )

    @contextmanager
    def _read(self, source: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            yield self._download(source, Path(folder))


def sha256_of(file: Path) -> str:
    """Of its bytes, in hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
