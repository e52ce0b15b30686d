"""The history of promotions: an append-only Delta table in the lake, `ledger/promotions`, one row a decision.

It says for any moment which model was champion, and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from noria.errors import StorageError, VerdictError
from noria.lake import Lake
from noria.records import LedgerEntry, digest
from noria.verdicts import Keyring

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

        Entries of the same run, event and verdict are the same one.

        Raises:
            BusyError: Other writers were quicker each time.
            StorageError: The table cannot be read or written.
        """
        from noria.lake.delta import append

        def rows(before: pa.Table | None) -> pa.Table | None:
            entries = _chain(_entries(before))
            if any(_identity(old) == _identity(entry) for old in entries):
                return None
            previous = digest(entries[-1]) if entries else ""
            moment = entry.at.astimezone(UTC)
            return _table(self._keyring.sign(entry.model_copy(update={"previous": previous, "at": moment})))

        append(self._lake, PATH, rows, self._partition, self._tmp)

    def entries(self) -> Sequence[LedgerEntry]:
        """All entries, the oldest first.

        Raises:
            StorageError: The table cannot be read.
        """
        from noria.lake.delta import read

        return _chain(_entries(read(self._lake, PATH, self._partition, self._tmp)))

    def champion_at(self, moment: datetime) -> LedgerEntry | None:
        """The entry that made the champion of a moment, or none; entries that nobody with the key signed do not count.

        Raises:
            StorageError: The table cannot be read.
        """
        crowned = [entry for entry in self.entries() if crowns(entry) and entry.at <= moment and self._genuine(entry)]
        return crowned[-1] if crowned else None

    def looks(self, champion: str | None, holdout_sha256: str, *, besides: str) -> int:
        """How many other model files than `besides` were judged against a champion on one holdout.

        A dry run counts: who made the model has learned how it does on these rows, and can try again.

        Raises:
            StorageError: The table cannot be read.
        """
        models = {
            entry.model_sha256
            for entry in self.entries()
            if entry.champion_before == champion and entry.holdout_sha256 == holdout_sha256
        }
        return len(models - {besides})

    def audit(self) -> list[str]:
        """Entries that were changed, forged or taken out, a sentence each; none where all is well."""
        try:
            entries = self.entries()
        except StorageError as error:
            return [str(error)]
        findings = []
        expected = ""
        for entry in entries:
            try:
                self._keyring.check(entry)
            except VerdictError as error:
                findings.append(str(error))
            if entry.previous != expected:
                findings.append(f"before the entry of run {entry.run_id} ({entry.event}) one was taken out or changed")
            expected = digest(entry)
        return findings

    @property
    def _partition(self) -> Mapping[str, str]:
        return {"pipeline": self._pipeline}

    def _genuine(self, entry: LedgerEntry) -> bool:
        try:
            self._keyring.check(entry)
        except VerdictError:
            return False
        return True


def crowns(entry: LedgerEntry) -> bool:
    """Whether the entry says that the champion is another one now."""
    return entry.champion_after is not None and entry.champion_after != entry.champion_before


def _identity(entry: LedgerEntry) -> tuple[str, str, str | None]:
    return entry.run_id, entry.event, entry.verdict_id


def _chain(entries: Iterable[LedgerEntry]) -> list[LedgerEntry]:
    """Entries in the order of their chain; where it is broken, the next part begins with the oldest one left."""
    left = sorted(entries, key=lambda entry: entry.at)
    following: dict[str, list[LedgerEntry]] = {}
    for entry in left:
        following.setdefault(entry.previous, []).append(entry)
    chained: list[LedgerEntry] = []
    while len(chained) < len(left):
        done = {id(entry) for entry in chained}
        part = [entry for entry in left if id(entry) not in done]
        digests = {digest(entry) for entry in part}
        now: LedgerEntry | None = next((entry for entry in part if entry.previous not in digests), part[0])
        while now is not None and id(now) not in done:
            chained.append(now)
            done.add(id(now))
            now = next((entry for entry in following.get(digest(now), []) if id(entry) not in done), None)
    return chained


def _entries(table: pa.Table | None) -> list[LedgerEntry]:
    return [] if table is None else [LedgerEntry.model_validate(row) for row in table.to_pylist()]


def _table(entry: LedgerEntry) -> pa.Table:
    import pyarrow as pa

    columns = [(name, _type(name)) for name in LedgerEntry.model_fields]
    return pa.Table.from_pylist([entry.model_dump()], schema=pa.schema(columns))


def _type(column: str) -> pa.DataType:
    import pyarrow as pa

    special = {"at": pa.timestamp("us", "UTC"), "reasons": pa.list_(pa.string())}
    return special.get(column, pa.string())
