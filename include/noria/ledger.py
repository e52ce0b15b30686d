"""The history of promotions: an append-only Delta table in the lake, `ledger/promotions`, one row a decision.

It says for any moment which model was champion, and why. Entries are signed, and each names the one before it: who
has no key can neither change one nor take one out unseen, but for the last ones (docs/adr/0013).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from noria.errors import StorageError, VerdictError
from noria.lake import Lake
from noria.records import ChampionVersion, LedgerEntry, LedgerEvent, SignedVerdict
from noria.verdicts import Keyring, fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

PATH = "ledger/promotions"


class Ledger:
    """The history of one pipeline.

    Args:
        lake: Where the table is.
        pipeline: Name of the pipeline.
        keyring: What entries are signed with.
        tmp: Folder on local disk for the table's files while they are read; without it the system's.
    """

    def __init__(self, lake: Lake, pipeline: str, keyring: Keyring, tmp: Path | None = None) -> None:
        self._lake, self._pipeline, self._keyring, self._tmp = lake, pipeline, keyring, tmp

    def append(self, entry: LedgerEntry) -> None:
        """Add an entry, signed and chained to the one before it; a repeated call for the same one changes nothing.

        Entries of the same run and event are the same one, if they are of the same verdict; those without a verdict, if
        they were reached against the same champion: judged again against a newer one, a run is a look at that one too.

        Raises:
            BusyError: Other writers were quicker each time.
            StorageError: The table cannot be read or written.
        """
        from noria.lake.delta import append

        if entry.pipeline != self._pipeline:
            raise ValueError(f"an entry of {entry.pipeline} for the ledger of {self._pipeline}")

        def rows(before: pa.Table | None) -> pa.Table | None:
            entries = _chained(_entries(before))
            if any(_identity(old) == _identity(entry) and self._genuine(old) for old in entries):
                return None
            changes = {"previous": fingerprint(entries[-1]) if entries else "", "at": entry.at.astimezone(UTC)}
            return _table(self._keyring.sign(entry.model_copy(update=changes)))

        append(self._lake, PATH, rows, self._partition, self._tmp)

    def history(self) -> History:
        """All that the table says now, read once.

        Raises:
            StorageError: The table cannot be read.
        """
        from noria.lake.delta import read

        table = read(self._lake, PATH, self._partition, self._tmp)
        entries = tuple(_chained(_entries(table)))
        strange = (0 if table is None else table.num_rows) - len(entries)
        return History(self._pipeline, entries, self._keyring, strange)

    def entries(self) -> Sequence[LedgerEntry]:
        """All entries, the oldest first.

        Raises:
            StorageError: The table cannot be read.
        """
        return self.history().entries

    def champion_at(self, moment: datetime) -> LedgerEntry | None:
        """`History.champion_at`. Raises StorageError: the table cannot be read."""
        return self.history().champion_at(moment)

    def looks(self, champion: str | None, holdout_sha256: str | None, *, besides: str) -> int:
        """`History.looks`. Raises StorageError: the table cannot be read."""
        return self.history().looks(champion, holdout_sha256, besides=besides)

    def audit(self, versions: Collection[ChampionVersion] | None = None) -> list[str]:
        """`History.audit`; a table that cannot be read is a finding."""
        try:
            return self.history().audit(versions)
        except StorageError as error:
            return [str(error)]

    def dethroned(self, versions: Collection[ChampionVersion]) -> list[str]:
        """`History.dethroned`. Raises StorageError: the table cannot be read."""
        return self.history().dethroned(versions)

    @property
    def _partition(self) -> Mapping[str, str]:
        return {"pipeline": self._pipeline}

    def _genuine(self, entry: LedgerEntry) -> bool:
        return _is_genuine(entry, self._keyring)


@dataclass(frozen=True)
class History:
    """The history of one pipeline as one reading of the table had it.

    Attributes:
        pipeline: Its name.
        entries: The oldest first.
        keyring: What entries are verified by.
        strange: Rows of the table that are no entries.
    """

    pipeline: str
    entries: tuple[LedgerEntry, ...]
    keyring: Keyring
    strange: int = 0

    def champion_at(self, moment: datetime) -> LedgerEntry | None:
        """The entry that made the champion of a moment, or none; what nobody with the key has signed does not count."""
        return next((entry for entry in reversed(self._crowned) if entry.at <= moment), None)

    def looks(self, champion: str | None, holdout_sha256: str | None, *, besides: str) -> int:
        """How many other model files than `besides` were judged against a champion on one holdout; none: on any.

        Every event counts, a dry run too: who made the model has learned how it does on these rows, and can try again.
        So does an entry that was tampered with, since a look too many only makes the next verdict more careful.
        """
        models = {
            entry.model_sha256
            for entry in self.entries
            if entry.champion_before == champion and holdout_sha256 in (None, entry.holdout_sha256)
        }
        return len(models - {besides})

    def has(self, entry: LedgerEntry) -> bool:
        """Whether the same entry stands there, signed."""
        return any(_identity(old) == _identity(entry) and self._genuine(old) for old in self.entries)

    @property
    def confirmed(self) -> LedgerEntry | None:
        """The last entry by which a person said who the champion is, or none."""
        said = (entry for entry in reversed(self._crowned) if entry.event in ("forced", "rolled_back"))
        return next(said, None)

    @property
    def newest(self) -> datetime | None:
        """The newest time in it, from the last one on that a person has said; none where nothing stands there.

        What was entered before that by a clock that was ahead would else keep everybody waiting for its time to come.
        """
        confirmed = self.confirmed
        start = self.entries.index(confirmed) if confirmed else 0
        return max((entry.at for entry in self.entries[start:]), default=None)

    def audit(self, versions: Collection[ChampionVersion] | None = None) -> list[str]:
        """Entries that were changed, forged or taken out, a sentence each; none where all is well.

        Args:
            versions: What the registry knows. Its champions must all be in the ledger, and so it is seen too where the
                last entries were cut off; or a promotion has not come to its end, which a retry of its run mends. And
                the last champion in the ledger must be theirs: a crown that somebody took away leaves no other trace.
        """
        findings = [f"{self.strange} rows of the ledger of {self.pipeline} are no entries"] if self.strange else []
        last, seen = "", set[str]()
        for entry in self.entries:
            name = fingerprint(entry)
            findings += self._wrong(entry, name in seen, entry.previous == last)
            seen.add(name)
            last = name if self._genuine(entry) else last
        if versions is None:
            return findings
        return findings + (self._lacking(versions) or self.dethroned(versions))

    def dethroned(self, versions: Collection[ChampionVersion]) -> list[str]:
        """Whether the registry has lost the champion that the ledger knows, in a sentence; none where it has not.

        Args:
            versions: All that the registry knows.
        """
        last = self._crowned[-1] if self._crowned else None
        crowned = [version for version in versions if version.sequence is not None]
        stands = max(crowned, key=lambda version: version.sequence or 0).version if crowned else None
        if last is None or last.champion_after == stands:
            return []
        return [
            f"run {last.run_id} made version {last.champion_after} the champion at {last.at:%Y-%m-%d %H:%M} UTC, and "
            f"the registry says version {stands or '(none)'}: somebody changed it by hand, or a rollback has not come "
            f"to its end (`noria rollback {self.pipeline} --to VERSION --reason TEXT`)"
        ]

    @cached_property
    def _crowned(self) -> list[LedgerEntry]:
        return [entry for entry in self.entries if crowns(entry) and self._genuine(entry)]

    def _genuine(self, entry: LedgerEntry) -> bool:
        return _is_genuine(entry, self.keyring)

    def _wrong(self, entry: LedgerEntry, is_repeated: bool, follows: bool) -> list[str]:
        try:
            self.keyring.check(entry)
        except VerdictError as error:
            return [str(error)]
        what = f"the entry of run {entry.run_id} ({entry.event}, {entry.at:%Y-%m-%d %H:%M} UTC)"
        if is_repeated:
            return [f"{what} stands in the ledger twice"]
        return [] if follows else [f"what stood in the ledger before {what} was taken out or changed"]

    def _lacking(self, versions: Collection[ChampionVersion]) -> list[str]:
        told = {entry.verdict_id for entry in self._crowned}
        return [
            f"version {version.version} became champion by the verdict {verdict.id}, of which the ledger says nothing"
            for version in versions
            if version.sequence is not None
            for verdict in dict.fromkeys((version.verdict, version.crown))
            if verdict and not verdict.entry_only and verdict.id not in told
        ]


def crowns(entry: LedgerEntry) -> bool:
    """Whether the entry says who the champion is from then on; a rollback may confirm the one that was it before."""
    return entry.event in ("promoted", "forced", "rolled_back")


def _is_genuine(entry: LedgerEntry, keyring: Keyring) -> bool:
    try:
        keyring.check(entry)
    except VerdictError:
        return False
    return True


def _identity(entry: LedgerEntry) -> tuple[str, str, str | None]:
    return entry.run_id, entry.event, entry.verdict_id or entry.champion_before


def entry_of(verdict: SignedVerdict, version: str) -> LedgerEntry:
    """The line of a verdict that has made a version the champion."""
    events: dict[str, LedgerEvent] = {"promote": "promoted", "force": "forced", "rollback": "rolled_back"}
    return LedgerEntry(
        pipeline=verdict.pipeline,
        at=verdict.issued_at,
        event=events[verdict.action],
        run_id=verdict.run_id,
        model_sha256=verdict.model_sha256,
        holdout_sha256=verdict.holdout_sha256,
        policy_sha256=verdict.policy_sha256,
        version=version,
        champion_before=verdict.previous_champion,
        champion_after=version,
        by=verdict.by,
        reasons=(verdict.reason,),
        verdict_id=verdict.id,
    )


def _chained(entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """Entries in the order of their chain; where it is broken, its parts in the order of their times."""
    rows = sorted(entries, key=lambda entry: entry.at)
    names = [fingerprint(entry) for entry in rows]
    following: dict[str, list[int]] = {}
    for number, entry in enumerate(rows):
        following.setdefault(entry.previous, []).append(number)
    known = set(names)
    starts = [number for number, entry in enumerate(rows) if entry.previous not in known]
    order: dict[int, None] = {}
    for start in (*starts, *range(len(rows))):
        now: int | None = start
        while now is not None and now not in order:
            order[now] = None
            now = next((number for number in following.get(names[now], ()) if number not in order), None)
    return [rows[number] for number in order]


def _entries(table: pa.Table | None) -> list[LedgerEntry]:
    """The rows that are entries; `audit` tells of others."""
    found = []
    for row in [] if table is None else table.to_pylist():
        try:
            found.append(LedgerEntry.model_validate({k: v for k, v in row.items() if _is_told(k, v)}))
        except ValidationError:
            continue
    return found


def _is_told(column: str, value: object) -> bool:
    """Whether a value is one of an entry; older entries say nothing of columns that came later."""
    field = LedgerEntry.model_fields.get(column)
    return field is not None and (value is not None or field.is_required())


def _table(entry: LedgerEntry) -> pa.Table:
    import pyarrow as pa

    columns = [(name, _type(name)) for name in LedgerEntry.model_fields]
    return pa.Table.from_pylist([entry.model_dump()], schema=pa.schema(columns))


def _type(column: str) -> pa.DataType:
    import pyarrow as pa

    special = {"at": pa.timestamp("us", "UTC"), "reasons": pa.list_(pa.string())}
    return special.get(column, pa.string())
