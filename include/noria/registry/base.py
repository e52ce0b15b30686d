"""The registry: what lets a model in, and what makes it the champion. The rules stand here and nowhere else.

A back end stores files, versions, tags and aliases, and decides nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from noria.azure import AzureConnection
from noria.errors import StaleVerdictError, StorageError, VerdictError
from noria.records import Candidate, ChampionVersion, Run, SignedVerdict, policy_digest
from noria.registry.facts import crown_tags, cut, entry_tags, is_part, tags_of
from noria.registry.reading import Reading, sha256_of
from noria.registry.versions import Entry, Versions
from noria.verdicts import Keyring

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class Uploaded:
    """Files that are in place and belong to no version yet.

    Attributes:
        source: Where, in the back end's words.
        tracked_run: MLflow's id of the run that they are of; empty where there is no such thing.
    """

    source: str
    tracked_run: str = ""


class Registry(Reading):
    """Model versions by pipeline name. `champion` is the one in use, `challenger` the last one that was let in.

    A version comes in, and becomes the champion, only with a signed verdict for exactly its bytes. The champion is the
    version with the highest sequence number in a signed verdict; a number is taken once, so no verdict works twice.

    Args:
        keyring: What verdicts are verified by.
        staging: Whether candidates only wait here: verdicts are about the champion of another registry then, and
            nothing becomes the champion.
    """

    longest_tag = 1000
    """Characters in a tag's value; longer ones are cut."""

    def __init__(self, keyring: Keyring, *, staging: bool = False) -> None:
        super().__init__(keyring)
        self._staging = staging

    def register(self, run: Run, candidate: Candidate, verdict: SignedVerdict, model_file: Path) -> ChampionVersion:
        """Let a candidate in as the challenger; a second call for the same run and bytes changes nothing.

        The bytes are checked before the upload, and read back and checked after it. A version of this run and these
        bytes that an earlier verdict let in is given the new one, unless it waited for just that.

        Raises:
            VerdictError: The verdict is not valid for these bytes, this pipeline or this run, or was used before.
            StaleVerdictError: There is another champion by now than it was reached against.
            StorageError: What was read back is not what was uploaded; the version is not made.
        """
        name = run.pipeline.name
        self._check_binding(run, candidate, verdict, model_file)
        versions = self._versions(name)
        own = versions.of(run.run_id, verdict.model_sha256)
        if own is None or own.verdict is None:
            self._check_turn(versions, verdict)
            version = self._let_in(run, candidate, verdict, model_file, versions)
        else:
            version = own.stored.version
            if verdict.id not in (own.verdict.id, own.crown.id if own.crown else None):
                self._check_turn(versions, verdict)
                self._check_bytes(name, own)
                if not _follows(own.verdict, verdict):
                    self._tag(name, own, entry_tags(verdict))
        self._follow(name, CHALLENGER, version)
        return self._described(self._versions(name), version)

    def crown(self, name: str, version: str, verdict: SignedVerdict) -> ChampionVersion:
        """Make a version the champion, after its bytes were read back and checked; a repeated call changes nothing.

        Raises:
            VerdictError: The verdict is not valid for this version's bytes, or was used before.
            StaleVerdictError: There is another champion by now than it was reached against.
            StorageError: Its model file is gone.
        """
        if self._staging:
            raise VerdictError(
                f"nothing becomes the champion of {name} in the staging registry", expected="the one for production"
            )
        self._keyring.check(verdict)
        versions = self._versions(name)
        entry = self._present(versions, version)
        self._check_crown(name, entry, verdict)
        stands = entry is versions.champion and entry.crown is not None and entry.crown.id == verdict.id
        if not stands:
            versions.check_turn(verdict)
        self._check_bytes(name, entry)
        self._tag(name, entry, crown_tags(verdict))
        written = self._versions(name)
        if not stands:
            self._give_way(written, entry, verdict)
        self._follow(name, CHAMPION, version)
        return self._described(written, version)

    # What a back end gives

    @abstractmethod
    def _upload(self, run: Run, candidate: Candidate, model_file: Path) -> Uploaded:
        """Put the model's files where no version has any: each run and bytes have a place of their own."""

    @abstractmethod
    def _create(self, run: Run, files: Uploaded, tags: Mapping[str, str], description: str, versions: Versions) -> str:
        """Make the version, with all its tags in one write; its name.

        Raises:
            BusyError: Another run has made this version meanwhile.
        """

    @abstractmethod
    def _write_tags(self, name: str, version: str, tags: Mapping[str, str | None]) -> None:
        """Set tags of a version in this order, or in one write; none takes one away."""

    def _set_alias(self, name: str, alias: str, version: str) -> None:
        """Move an alias; a back end that has aliases overrides this."""
        raise NotImplementedError(f"{type(self).__name__} has no aliases")

    # The rules

    def _described(self, versions: Versions, version: str) -> ChampionVersion:
        found = versions.describe(self._present(versions, version))
        if found is None:
            raise StorageError(f"the tags of {versions.name} version {version} do not say what it is")
        return found

    def _check_binding(self, run: Run, candidate: Candidate, verdict: SignedVerdict, model_file: Path) -> None:
        """The verdict is genuine, and about this run, this candidate and these bytes."""
        self._keyring.check(verdict)
        if verdict.action not in ("promote", "force"):
            raise VerdictError(
                f"the verdict {verdict.id} is leave for a {verdict.action}, which lets nothing in",
                expected="one that promotes or forces",
                remedy=f"`noria promote {run.pipeline.name} --run {run.run_id}` judges it.",
            )
        present = {
            "the pipeline": (verdict.pipeline, run.pipeline.name),
            "the run": (verdict.run_id, run.run_id),
            "the candidate's model": (verdict.model_sha256, candidate.model_sha256),
            "the model file": (verdict.model_sha256, sha256_of(model_file)),
            "the holdout": (verdict.holdout_sha256, candidate.holdout_sha256),
            "the snapshot": (verdict.snapshot_id, candidate.snapshot_id),
            "the code": (verdict.code, candidate.code),
            "the policy": (verdict.policy_sha256, policy_digest(run.pipeline.gate)),
        }
        for what, (signed, got) in present.items():
            if signed != got:
                raise VerdictError(
                    f"{what} is {got}, which the verdict {verdict.id} was not reached on",
                    expected=signed,
                    remedy="Judge what is there: run the task promote again.",
                )

    def _check_turn(self, versions: Versions, verdict: SignedVerdict) -> None:
        if not self._staging:
            versions.check_turn(verdict)

    def _check_crown(self, name: str, entry: Entry, verdict: SignedVerdict) -> None:
        """The verdict makes champions, and is about this version, which was let in."""
        if verdict.entry_only:
            raise VerdictError(
                f"the verdict {verdict.id} only lets run {verdict.run_id} in, to wait for a person",
                expected="one that was signed after somebody approved",
                remedy=f"noria promote {name} --run {verdict.run_id} --approve --reason TEXT",
            )
        version, let_in = entry.stored.version, entry.verdict
        if let_in is None:
            raise VerdictError(
                f"{name} version {version}: {entry.faults[0]}",
                expected="a version that was let in",
                remedy="`noria doctor` tells what to do about it.",
            )
        about = {
            "pipeline": (verdict.pipeline, name),
            "run": (verdict.run_id, let_in.run_id),
            "model": (verdict.model_sha256, let_in.model_sha256),
        }
        if verdict.action == "rollback":
            about["version"] = (verdict.version or "(none)", version)
            if entry.crown is None:
                raise VerdictError(
                    f"{name} version {version} was never the champion, so nothing can go back to it",
                    expected="a version that was",
                    remedy=f"`noria history {name}` lists them.",
                )
        for what, (signed, present) in about.items():
            if signed != present:
                raise VerdictError(
                    f"the verdict {verdict.id} is on {what} {signed}", expected=f"that of version {version}: {present}"
                )

    def _let_in(
        self, run: Run, candidate: Candidate, verdict: SignedVerdict, model_file: Path, versions: Versions
    ) -> str:
        """The files first, read back and checked; then the version, which makes them count."""
        files = self._upload(run, candidate, model_file)
        with self._read(files.source) as back:
            if (got := sha256_of(back)) != verdict.model_sha256:
                raise StorageError(
                    f"the model file at {files.source} was read back with SHA-256 {got}",
                    expected=f"{verdict.model_sha256}, as it was uploaded",
                    remedy="No version was made of it. See who writes there, and run the task promote again.",
                )
        tags = cut(tags_of(run, candidate, verdict), self.longest_tag)
        return self._create(run, files, tags, verdict.reason, versions)

    def _tag(self, name: str, entry: Entry, values: Mapping[str, str]) -> None:
        """Write values, and take away the parts of longer ones that stood there."""
        new: dict[str, str | None] = dict(cut(values, self.longest_tag))
        old = [tag for tag in entry.stored.tags if any(is_part(tag, key) for key in values)]
        changed = {key: value for key, value in new.items() if entry.stored.tags.get(key) != value}
        changed |= {tag: None for tag in old if tag not in new}
        if changed:
            self._write_tags(name, entry.stored.version, changed)

    def _give_way(self, versions: Versions, before: Entry, verdict: SignedVerdict) -> None:
        """Take the number back if another version has taken it meanwhile; the versions were read after writing it.

        Each of two writers writes first and looks afterwards, so one of them sees the other at least; two that see one
        another both give way, and both are judged again.
        """
        name = versions.name
        others = [e for e in versions.crowned if e.crown and e.crown.sequence == verdict.sequence]
        other = next((e.stored.version for e in others if e.stored.version != before.stored.version), None)
        if other is None:
            return
        written = cut(crown_tags(verdict), self.longest_tag)
        self._write_tags(name, before.stored.version, {tag: before.stored.tags.get(tag) for tag in written})
        raise StaleVerdictError(
            f"version {other} of {name} was made champion number {verdict.sequence} at the same moment",
            expected="one promotion at a time",
            remedy="It has to be judged again.",
        )

    def _follow(self, name: str, alias: str, version: str) -> None:
        """Move an alias where readers outside look for it."""
        aliases = self._aliases(name)
        if aliases is not None and aliases.get(alias) != version:
            self._set_alias(name, alias, version)


def _follows(before: SignedVerdict, verdict: SignedVerdict) -> bool:
    """Whether a verdict carries out what an earlier one let in to wait: the version keeps that one then, whole."""
    waited = before.entry_only and not verdict.entry_only and verdict.action == "promote"
    return waited and (before.sequence, before.previous_champion) == (verdict.sequence, verdict.previous_champion)


def open_registry(url: str, home: Path, keyring: Keyring, *, staging: bool = False) -> Registry:
    """The registry at an MLflow URI; `home` holds what is local (artifacts of a SQLite registry, locks)."""
    from noria.registry.mlflow_registry import MlflowRegistry

    return MlflowRegistry(url, home, keyring, staging=staging)


def open_azureml_registry(connection: AzureConnection, keyring: Keyring, *, staging: bool = False) -> Registry:
    """The registry in the Azure ML workspace of a connection."""
    from noria.registry.azureml_registry import AzureMLRegistry

    return AzureMLRegistry(connection, keyring, staging=staging)
