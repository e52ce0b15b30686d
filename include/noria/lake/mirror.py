"""A local copy of as much of a Delta table as is needed, on which the package deltalake works.

It has the table's log from its last checkpoint on, and the files of the partitions that are read; a partition is
replaced without them. What is written there goes to the lake in an order that leaves the table old or new, wherever it
is interrupted: the data files, then the commit by exclusive create, which is Delta's own rule for writers
(https://github.com/delta-io/delta/blob/master/PROTOCOL.md), then now and then a checkpoint, and last the file that
points at it. A data file without its commit is part of no table.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
import urllib.parse
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noria.errors import BusyError, StorageError
from noria.lake.base import Lake
from noria.lake.partitions import PartFile, write_partitions
from noria.lake.scratch import scratch

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable
    from pyarrow.dataset import Dataset

COMMITS_PER_CHECKPOINT = 20
LOG = "_delta_log"
READS_AT_ONCE = 16
_LAST_CHECKPOINT = "_last_checkpoint"
_ATTEMPTS = 12
_LONGEST_WAIT_SECONDS = 2.0
_LONGEST_MESSAGE = 300
_SMALL_BYTES = 100_000
"""A file up to this size is fetched by one request."""

Where = Sequence[tuple[str, str, str]]
"""Conditions on partition columns, all of them to be met: column, `=`, `<`, `<=`, `>` or `>=`, value."""


@dataclass(frozen=True)
class Layout:
    """How a table is made.

    Attributes:
        schema: Its columns; those of a table that stands are kept beside them.
        partition_by: Columns that it is partitioned by, all text; the first one says what is replaced together.
        configuration: Properties of the table, `delta.` and so on.
    """

    schema: pa.Schema
    partition_by: tuple[str, ...]
    configuration: Mapping[str, str]


class Mirror:
    """A local copy of as much of a table as is needed."""

    def __init__(self, lake: Lake, path: str, folder: Path) -> None:
        self._lake, self._path, self._folder = lake, path, folder
        self._version = -1
        self.refresh()

    def refresh(self) -> None:
        """Fetch the log as it is now, from its last checkpoint on."""
        shutil.rmtree(self._folder / LOG, ignore_errors=True)
        self._version = self._checkpoint()
        while self._fetch(f"{LOG}/{self._version + 1:020}.json"):
            self._version += 1

    def attempts(self) -> Iterator[int]:
        """Numbers of tries to commit; after each that failed the log is fetched as it is then."""
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, min(_LONGEST_WAIT_SECONDS, 0.05 * 2**attempt)))  # noqa: S311
                self.refresh()
            yield attempt

    def busy(self) -> BusyError:
        """What is raised when all attempts were in vain."""
        return BusyError(
            f"other writers of the table {self._lake.url(self._path)} were quicker {_ATTEMPTS} times",
            remedy="Run again in a moment.",
        )

    def rows(self, where: Where) -> pa.Table | None:
        """Rows of some partitions; none if there is no table."""
        with self.explained():
            found = self.dataset(where)
            return None if found is None else found.to_table()

    def dataset(self, where: Where) -> Dataset | None:
        """Some partitions, with their files fetched; none if there is no table."""
        if self._version < 0:
            return None
        from deltalake import DeltaTable
        from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

        chosen = list(where)
        with self.explained():
            table = DeltaTable(self._folder)
            files = [self._relative(uri) for uri in table.file_uris(file_pruning_predicate=chosen)]
            large = self._large(table)
            with ThreadPoolExecutor(READS_AT_ONCE) as pool:
                found = list(pool.map(lambda file: (self._link if file in large else self._fetch)(file), files))
            if lost := [file for file, there in zip(files, found, strict=True) if not there]:
                raise StorageError(
                    f"the table {self._lake.url(self._path)} has lost its file {lost[0]}",
                    remedy="Restore it from a backup, or undelete it in the storage account.",
                )
            local = SubTreeFileSystem(str(self._folder), LocalFileSystem())
            return table.to_pyarrow_dataset(file_pruning_predicate=chosen, filesystem=local)

    def schema(self) -> pa.Schema | None:
        """Columns of the table; none if there is no table."""
        if self._version < 0:
            return None
        from deltalake import DeltaTable

        with self.explained():
            return _schema_of(DeltaTable(self._folder))

    def transactions(self) -> dict[str, int]:
        """Application transactions that stand; read in one pass, where the package asks the log once for each."""
        import pyarrow.parquet as pq

        log = self._folder / LOG
        with self.explained():
            found: dict[str, int] = {}
            for file in log.glob("*.checkpoint*.parquet"):
                rows = pq.read_table(file, columns=["txn"])["txn"].drop_null().to_pylist()
                found |= {row["appId"]: row["version"] for row in rows}
            for file in sorted(log.glob("*.json")):
                for line in file.read_bytes().splitlines():
                    if b'"txn"' in line and (row := json.loads(line).get("txn")):
                        found[row["appId"]] = row["version"]
            return found

    def write(self, layout: Layout, batches: Iterable[pa.RecordBatch], chosen: Collection[str]) -> list[PartFile]:
        """Data files with the rows of these partitions; they are in the lake then, and part of no table yet."""
        files = write_partitions(self._folder, layout.partition_by, batches, chosen)
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            list(pool.map(lambda file: self._lake.put(self._folder / file.path, f"{self._path}/{file.path}"), files))
        return files

    def commit_files(
        self,
        layout: Layout,
        files: Sequence[PartFile],
        chosen: Mapping[str, tuple[str, int]],
        facts: Mapping[str, Any],
    ) -> bool:
        """Put files in the place of what these partitions hold; False where that version is somebody else's already."""
        from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction

        if self._version < 0 and not self._begin(layout):
            return False
        with self.explained():
            before = set(self._files())
            table = DeltaTable(self._folder)
            schema = Schema.from_arrow(_merged(_schema_of(table), layout.schema))
            column = layout.partition_by[0]
            table.create_write_transaction(
                [file.added(layout.partition_by) for file in files if file.values[0] in chosen],
                mode="overwrite",
                schema=schema,
                partition_by=list(layout.partition_by),
                partition_filters=[(column, "in", list(chosen))],
                commit_properties=CommitProperties(
                    custom_metadata=dict(facts),
                    app_transactions=[Transaction(name, version) for name, version in chosen.values()],
                ),
                post_commithook_properties=PostCommitHookProperties(cleanup_expired_logs=False),
            )
        return self._publish(sorted(set(self._files()) - before))

    def forget(self, files: Iterable[PartFile]) -> None:
        """Remove data files that no commit took."""
        for file in files:
            self._lake.remove(f"{self._path}/{file.path}")

    def _begin(self, layout: Layout) -> bool:
        """Make the table, without rows; False where somebody else was quicker."""
        from deltalake import DeltaTable, Schema

        with self.explained():
            DeltaTable.create(
                self._folder,
                schema=Schema.from_arrow(layout.schema),
                partition_by=list(layout.partition_by),
                configuration={**_properties(), **layout.configuration},
            )
        return self._publish([])

    def commit(self, table: pa.Table, partition_by: list[str]) -> bool:
        """Add rows as the next version; False where that version is somebody else's already."""
        from deltalake import PostCommitHookProperties, write_deltalake

        before = set(self._files())
        properties = {**_properties(), "delta.appendOnly": "true"}
        with self.explained():
            write_deltalake(
                self._folder,
                table,
                mode="append",
                schema_mode="merge",  # a later release may know more columns
                partition_by=partition_by,
                configuration=properties if self._version < 0 else None,
                post_commithook_properties=PostCommitHookProperties(cleanup_expired_logs=False),
            )
        made = sorted(set(self._files()) - before)
        for file in made:
            if not file.startswith(LOG):
                self._lake.put(self._folder / file, f"{self._path}/{file}")
        return self._publish(made)

    def _publish(self, made: Sequence[str]) -> bool:
        """Give the lake the commit that the mirror has, and its checkpoint if it was due one."""
        commit = f"{LOG}/{self._version + 1:020}.json"
        if not self._lake.create(f"{self._path}/{commit}", (self._folder / commit).read_bytes()):
            return False
        self._version += 1
        self._publish_checkpoint(made)
        return True

    def _publish_checkpoint(self, made: Sequence[str]) -> None:
        """A checkpoint that this commit was due, and then what points at it."""
        checkpoints = [file for file in made if file.startswith(f"{LOG}/{self._version:020}.checkpoint")]
        for file in checkpoints:
            self._lake.replace(f"{self._path}/{file}", (self._folder / file).read_bytes())
        if checkpoints:
            hint = f"{LOG}/{_LAST_CHECKPOINT}"
            self._lake.replace(f"{self._path}/{hint}", (self._folder / hint).read_bytes())

    def _checkpoint(self) -> int:
        """Fetch the last checkpoint; the version it is of, or -1 without one."""
        if not self._fetch(f"{LOG}/{_LAST_CHECKPOINT}"):
            return -1
        try:
            hint = json.loads((self._folder / LOG / _LAST_CHECKPOINT).read_bytes())
            version, parts = int(hint["version"]), int(hint.get("parts") or 1)
        except (ValueError, KeyError, TypeError) as error:
            raise self._unreadable(f"{_LAST_CHECKPOINT} says nothing that can be understood") from error
        stem = f"{LOG}/{version:020}.checkpoint"
        names = [f"{stem}.{part + 1:010}.{parts:010}" for part in range(parts)] if parts > 1 else [stem]
        needed = [*(f"{name}.parquet" for name in names), f"{LOG}/{version:020}.json"]
        if lost := [file for file in needed if not self._fetch(file)]:
            raise self._unreadable(f"{lost[0]} is gone")
        return version

    def _fetch(self, file: str) -> bool:
        """Copy a file of the table into the mirror; False if the table has none of that name."""
        local = self._folder / file
        if local.exists():
            return True
        try:
            data = self._lake.read(f"{self._path}/{file}")
        except FileNotFoundError:
            return False
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_bytes(data)
        return True

    def _large(self, table: DeltaTable) -> set[str]:
        """Data files of a table that do not fit into memory many at a time."""
        import pyarrow as pa

        known = pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=True)).read_all()  # others load pandas
        sizes = zip(known["path"].to_pylist(), known["size_bytes"].to_pylist(), strict=True)
        return {urllib.parse.unquote(path) for path, size in sizes if size > _SMALL_BYTES}

    def _link(self, file: str) -> bool:
        """Like `_fetch`, for a file that is not to pass through memory, nor to be copied where a link will do."""
        local = self._folder / file
        if local.exists():
            return True
        local.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._lake.local(f"{self._path}/{file}") as here:
                try:
                    os.link(here, local)
                except OSError:  # another disk, or links are not allowed
                    shutil.copyfile(here, local)
        except FileNotFoundError:
            return False
        return True

    def _files(self) -> Iterator[str]:
        return (file.relative_to(self._folder).as_posix() for file in self._folder.rglob("*") if file.is_file())

    def _relative(self, uri: str) -> str:
        path = Path(urllib.parse.unquote(urllib.parse.urlsplit(uri).path))
        return path.relative_to(self._folder).as_posix()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Whatever is raised within becomes a StorageError that names the table."""
        from deltalake.exceptions import DeltaError
        from pyarrow import ArrowException

        try:
            yield
        except (DeltaError, ArrowException, ValueError, OSError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: object) -> StorageError:
        return unreadable(self._lake, self._path, error)


@contextmanager
def open_mirror(lake: Lake, path: str, tmp: Path | None) -> Iterator[Mirror]:
    """The mirror of a table in a scratch folder, which is gone afterwards."""
    with scratch(tmp or Path(tempfile.gettempdir()) / "noria") as folder:
        yield Mirror(lake, path, (folder / "table").resolve())


def unreadable(lake: Lake, path: str, error: object) -> StorageError:
    """What is raised for a table that cannot be used."""
    words = str(error).splitlines() or [type(error).__name__]  # a backtrace may follow
    return StorageError(
        f"the Delta table {lake.url(path)} cannot be used: {words[0][:_LONGEST_MESSAGE]}",
        remedy="If another program writes to it, see that it only adds rows; else restore it from a backup.",
    )


def _properties() -> dict[str, str]:
    return {
        "delta.checkpointInterval": str(COMMITS_PER_CHECKPOINT),
        "delta.dataSkippingNumIndexedCols": "0",  # files are small: reading their statistics takes longer
    }


def _merged(stands: pa.Schema, given: pa.Schema) -> pa.Schema:
    """Columns that a table has, and those of another schema that it has not; ValueError where a type is another one."""
    import pyarrow as pa

    for field in given:
        if field.name in stands.names and field.type != stands.field(field.name).type:
            raise ValueError(f"its column {field.name} is {stands.field(field.name).type}, not {field.type}")
    return pa.schema([*stands, *(field for field in given if field.name not in stands.names)])


def _schema_of(table: DeltaTable) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(table.schema().to_arrow())
