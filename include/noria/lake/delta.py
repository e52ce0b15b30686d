"""Delta tables in a lake, on any back end: read by partition, added to and never changed.

The package deltalake works in a scratch folder that mirrors the table's log from its last checkpoint on, and the files
of the partition that is asked for. What it writes there goes to the lake in an order that leaves the table old or new,
wherever it is interrupted: the data file, then the commit by exclusive create, which is Delta's own rule for writers
(https://github.com/delta-io/delta/blob/master/PROTOCOL.md), then now and then a checkpoint, and last the file that
points at it. A data file without its commit is part of no table.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from noria.errors import BusyError, StorageError
from noria.lake.base import Lake
from noria.lake.scratch import scratch

if TYPE_CHECKING:
    import pyarrow as pa

COMMITS_PER_CHECKPOINT = 20
_LOG, _LAST_CHECKPOINT = "_delta_log", "_last_checkpoint"
_ATTEMPTS = 12
_LONGEST_WAIT_SECONDS = 2.0
_READS_AT_ONCE = 16
_LONGEST_MESSAGE = 300

Rows = Callable[["pa.Table | None"], "pa.Table | None"]


def read(lake: Lake, path: str, partition: Mapping[str, str], tmp: Path | None = None) -> pa.Table | None:
    """Rows of one partition, in no order; none if there is no table.

    Args:
        lake: Where the table is.
        path: Lake path of the table's folder.
        partition: Value of each column that the table is partitioned by.
        tmp: Folder on local disk for files while they are read; without it the system's.

    Raises:
        StorageError: The table cannot be read, or a file of it is gone.
    """
    with _mirror(lake, path, tmp) as mirror:
        return mirror.rows(partition)


def append(lake: Lake, path: str, rows: Rows, partition: Mapping[str, str], tmp: Path | None = None) -> bool:
    """Add rows to one partition, in one commit; the table is made where there is none.

    Args:
        lake: Where the table is.
        path: Lake path of the table's folder.
        rows: Given the rows that the partition has now, the rows to add, or none. It is asked again where another
            writer was quicker.
        partition: Value of each column that the table is partitioned by.
        tmp: Folder on local disk for files while they are written; without it the system's.

    Returns:
        Whether rows were added.

    Raises:
        BusyError: Other writers were quicker each time.
        StorageError: The table cannot be read or written, or a file of it is gone.
    """
    with _mirror(lake, path, tmp) as mirror:
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, min(_LONGEST_WAIT_SECONDS, 0.05 * 2**attempt)))  # noqa: S311
                mirror.refresh()
            table = rows(mirror.rows(partition))
            if table is None:
                return False
            if mirror.commit(table, list(partition)):
                return True
    raise BusyError(
        f"other writers of the table {lake.url(path)} were quicker {_ATTEMPTS} times", remedy="Run again in a moment."
    )


class _Mirror:
    """A local copy of as much of a table as is needed."""

    def __init__(self, lake: Lake, path: str, folder: Path) -> None:
        self._lake, self._path, self._folder = lake, path, folder
        self._version = -1
        self.refresh()

    def refresh(self) -> None:
        """Fetch the log as it is now, from its last checkpoint on."""
        shutil.rmtree(self._folder / _LOG, ignore_errors=True)
        self._version = self._checkpoint()
        while self._fetch(f"{_LOG}/{self._version + 1:020}.json"):
            self._version += 1

    def rows(self, partition: Mapping[str, str]) -> pa.Table | None:
        """Rows of one partition; none if there is no table."""
        if self._version < 0:
            return None
        from deltalake import DeltaTable

        chosen = [(column, "=", value) for column, value in partition.items()]
        with self._explained():
            table = DeltaTable(self._folder)
            files = [self._relative(uri) for uri in table.file_uris(file_pruning_predicate=chosen)]
            with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
                found = list(pool.map(self._fetch, files))
            if lost := [file for file, there in zip(files, found, strict=True) if not there]:
                raise StorageError(
                    f"the table {self._lake.url(self._path)} has lost its file {lost[0]}",
                    remedy="Restore it from a backup, or undelete it in the storage account.",
                )
            return table.to_pyarrow_dataset(file_pruning_predicate=chosen).to_table()

    def commit(self, table: pa.Table, partition_by: list[str]) -> bool:
        """Add rows as the next version; False where that version is somebody else's already."""
        from deltalake import PostCommitHookProperties, write_deltalake

        before = set(self._files())
        properties = {
            "delta.appendOnly": "true",
            "delta.checkpointInterval": str(COMMITS_PER_CHECKPOINT),
            "delta.dataSkippingNumIndexedCols": "0",  # files are small: reading their statistics takes longer
        }
        with self._explained():
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
        commit = f"{_LOG}/{self._version + 1:020}.json"
        for file in made:
            if not file.startswith(_LOG):
                self._lake.put(self._folder / file, f"{self._path}/{file}")
        if not self._lake.create(f"{self._path}/{commit}", (self._folder / commit).read_bytes()):
            return False
        self._version += 1
        self._publish_checkpoint(made)
        return True

    def _publish_checkpoint(self, made: list[str]) -> None:
        """A checkpoint that this commit was due, and then what points at it."""
        checkpoints = [file for file in made if file.startswith(f"{_LOG}/{self._version:020}.checkpoint")]
        for file in checkpoints:
            self._lake.replace(f"{self._path}/{file}", (self._folder / file).read_bytes())
        if checkpoints:
            hint = f"{_LOG}/{_LAST_CHECKPOINT}"
            self._lake.replace(f"{self._path}/{hint}", (self._folder / hint).read_bytes())

    def _checkpoint(self) -> int:
        """Fetch the last checkpoint; the version it is of, or -1 without one."""
        if not self._fetch(f"{_LOG}/{_LAST_CHECKPOINT}"):
            return -1
        try:
            hint = json.loads((self._folder / _LOG / _LAST_CHECKPOINT).read_bytes())
            version, parts = int(hint["version"]), int(hint.get("parts") or 1)
        except (ValueError, KeyError, TypeError) as error:
            raise self._unreadable(f"{_LAST_CHECKPOINT} says nothing that can be understood") from error
        stem = f"{_LOG}/{version:020}.checkpoint"
        names = [f"{stem}.{part + 1:010}.{parts:010}" for part in range(parts)] if parts > 1 else [stem]
        needed = [*(f"{name}.parquet" for name in names), f"{_LOG}/{version:020}.json"]
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

    def _files(self) -> Iterator[str]:
        return (file.relative_to(self._folder).as_posix() for file in self._folder.rglob("*") if file.is_file())

    def _relative(self, uri: str) -> str:
        path = Path(urllib.parse.unquote(urllib.parse.urlsplit(uri).path))
        return path.relative_to(self._folder).as_posix()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from deltalake.exceptions import DeltaError
        from pyarrow import ArrowException

        try:
            yield
        except (DeltaError, ArrowException, ValueError, OSError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: object) -> StorageError:
        words = str(error).splitlines() or [type(error).__name__]  # a backtrace may follow
        return StorageError(
            f"the Delta table {self._lake.url(self._path)} cannot be used: {words[0][:_LONGEST_MESSAGE]}",
            remedy="If another program writes to it, see that it only adds rows; else restore it from a backup.",
        )


@contextmanager
def _mirror(lake: Lake, path: str, tmp: Path | None) -> Iterator[_Mirror]:
    with scratch(tmp or Path(tempfile.gettempdir()) / "noria") as folder:
        yield _Mirror(lake, path, (folder / "table").resolve())
