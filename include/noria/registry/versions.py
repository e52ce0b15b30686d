"""What the versions of one model are worth: which of them a signed verdict let in, and which is the champion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from noria.errors import StaleVerdictError, VerdictError
from noria.records import ChampionVersion, SignedVerdict
from noria.registry.facts import CROWN, ESTIMATOR, FORCED, MODEL, RUN, VERDICT, forced_by, joined, metrics_in, rule_in
from noria.verdicts import Keyring


@dataclass(frozen=True)
class Stored:
    """A version as a back end keeps it.

    Attributes:
        version: Its name; a number, unless somebody else made it.
        tags: As they stand there, cut.
        created_at: When, in UTC.
        source: Where its files are, in the back end's words.
    """

    version: str
    tags: Mapping[str, str]
    created_at: datetime
    source: str = ""

    @property
    def number(self) -> int:
        """A version that somebody else made may have any name."""
        return int(self.version) if self.version.isdecimal() else 0


@dataclass(frozen=True)
class Entry:
    """A version, and what of it is proven.

    Attributes:
        stored: As the back end keeps it.
        verdict: What let it in; none if that is not proven.
        crown: What made it the champion, the last time; none if that is not proven.
        faults: Why not, in words.
    """

    stored: Stored
    verdict: SignedVerdict | None = None
    crown: SignedVerdict | None = None
    faults: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, stored: Stored, keyring: Keyring) -> Entry:
        """What the tags of a version prove."""
        if not joined(VERDICT, stored.tags):
            return cls(stored, faults=("it has no verdict: it was registered around Noria",))
        try:
            verdict = _signed(VERDICT, name, stored, keyring)
        except VerdictError as error:
            return cls(stored, faults=(error.got,))
        if not joined(CROWN, stored.tags):
            return cls(stored, verdict)
        try:
            return cls(stored, verdict, _signed(CROWN, name, stored, keyring))
        except VerdictError as error:
            return cls(stored, verdict, faults=(error.got,))

    @property
    def forced(self) -> str | None:
        """Who forced it and why; a tag that was taken away does not hide it."""
        signed = (forced_by(v) for v in (self.crown, self.verdict) if v)
        return joined(FORCED, self.stored.tags) or next(filter(None, signed), None)


class Versions:
    """The versions of one model, as one answer of the back end had them.

    Args:
        name: Of the pipeline.
        stored: All of them, also those of others.
        keyring: What verdicts are verified by.
    """

    def __init__(self, name: str, stored: Iterable[Stored], keyring: Keyring) -> None:
        self.name = name
        found = sorted(stored, key=lambda s: s.number, reverse=True)
        self.entries = [Entry.of(name, s, keyring) for s in found]

    @cached_property
    def crowned(self) -> list[Entry]:
        """All that ever were the champion, the present one first; of two with one number, the older version."""
        found = [e for e in self.entries if e.crown]
        return sorted(found, key=lambda e: (e.crown.sequence if e.crown else 0, -e.stored.number), reverse=True)

    @property
    def champion(self) -> Entry | None:
        """The one in use."""
        return self.crowned[0] if self.crowned else None

    @property
    def challenger(self) -> Entry | None:
        """The one that was let in last, even if it is the champion by now."""
        return next((e for e in self.entries if e.verdict), None)

    @property
    def next_sequence(self) -> int:
        """One more than the champion's."""
        champion = self.champion
        return champion.crown.sequence + 1 if champion and champion.crown else 1

    def find(self, version: str) -> Entry | None:
        """A version by its name."""
        return next((e for e in self.entries if e.stored.version == version), None)

    def of(self, run_id: str, model_sha256: str) -> Entry | None:
        """The version of a run and bytes that was let in, the oldest one."""
        wanted = (run_id, model_sha256)
        found = (
            e for e in reversed(self.entries) if e.verdict and (e.verdict.run_id, e.verdict.model_sha256) == wanted
        )
        return next(found, None)

    def check_turn(self, verdict: SignedVerdict) -> None:
        """Nothing, where the verdict is about the champion that stands, and unused.

        Raises:
            VerdictError: It was used before.
            StaleVerdictError: There is another champion by now.
        """
        champion = self.champion.stored.version if self.champion else None
        for entry in self.crowned:
            crown, let_in = entry.crown, entry.verdict
            was_used = crown and let_in and verdict.id in (crown.id, let_in.id) and crown.sequence >= verdict.sequence
            if was_used:
                raise VerdictError(
                    f"the verdict {verdict.id} was used before: it made version {entry.stored.version} of {self.name} "
                    f"champion number {verdict.sequence}",
                    expected=f"a verdict that makes champion number {self.next_sequence}",
                    remedy="To make it the champion again: "
                    f"`noria rollback {self.name} --to {entry.stored.version} --reason TEXT`.",
                )
        if (verdict.previous_champion, verdict.sequence) != (champion, self.next_sequence):
            raise StaleVerdictError(
                f"the verdict on run {verdict.run_id} makes champion number {verdict.sequence} of {self.name} after "
                f"version {verdict.previous_champion or '(none)'}",
                expected=f"number {self.next_sequence} after version {champion or '(none)'}, which stands by now",
                remedy="It has to be judged again.",
            )

    @property
    def history(self) -> list[ChampionVersion]:
        """Those that say what they are, newest first."""
        return [found for e in self.entries if (found := self.describe(e))]

    def describe(self, entry: Entry) -> ChampionVersion | None:
        """A version as the report shows it; none if neither its tags nor its verdict say enough.

        What a verdict let in is there whatever its tags lack: `audit` tells of that.
        """
        crown, let_in, metrics = entry.crown, entry.verdict, metrics_in(entry.stored.tags)
        if let_in is None and metrics is None:
            return None
        signed = {"noria.snapshot_id": let_in.snapshot_id, ESTIMATOR: "(unknown)"} if let_in else {}
        tags, judged = {**signed, **entry.stored.tags}, crown or let_in
        is_champion = entry is self.champion
        try:
            return ChampionVersion(
                version=entry.stored.version,
                is_champion=is_champion,
                is_challenger=entry is self.challenger and not is_champion,
                created_at=entry.stored.created_at,
                run_id=tags[RUN],
                snapshot_id=tags["noria.snapshot_id"],
                estimator=tags[ESTIMATOR],
                metrics=metrics or {},
                model_sha256=tags[MODEL],
                previous_champion=judged.previous_champion if judged else None,
                holdout=rule_in(tags),
                training_rows=joined("noria.training_rows", tags) or None,
                sequence=crown.sequence if crown else None,
                verdict=let_in,
                crown=crown,
                forced=entry.forced,
            )
        except (KeyError, ValueError):
            return None


def _signed(key: str, name: str, stored: Stored, keyring: Keyring) -> SignedVerdict:
    """The verdict in a tag.

    Raises:
        VerdictError: It is not what was signed, or not about this version.
    """
    try:
        verdict = SignedVerdict.model_validate_json(joined(key, stored.tags))
    except ValueError:
        raise VerdictError(f"its tag {key} is no signed verdict") from None
    keyring.check(verdict)
    about = {
        "pipeline": (verdict.pipeline, name),
        "run": (verdict.run_id, stored.tags.get(RUN)),
        "model": (verdict.model_sha256, stored.tags.get(MODEL)),
    }
    if key == CROWN and verdict.action == "rollback":
        about["version"] = (verdict.version or "(none)", stored.version)
    for what, (signed, tagged) in about.items():
        if signed != tagged:
            raise VerdictError(f"its tag {key} holds a verdict on {what} {signed}, and it says it is {tagged}")
    if key == VERDICT and verdict.action == "rollback":
        raise VerdictError(f"its tag {key} holds leave for a rollback, which lets nothing in")
    if key == CROWN and verdict.entry_only:
        raise VerdictError(f"its tag {key} holds leave to come in and wait, which makes nothing the champion")
    return verdict
