"""Delta tables in a lake, on any back end: read by partition, added to, or replaced by whole partitions.

How a table is fetched and published, so that it is old or new at any time, belongs to `noria.lake.mirror`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noria.lake.base import Lake
from noria.lake.mirror import LOG, READS_AT_ONCE, Layout, Where, open_mirror, unreadable

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.dataset import Dataset

__all__ = [
    "Commit",
    "Layout",
    "Rows",
    "Transactions",
    "Where",
    "append",
    "history",
    "read",
    "replace",
    "scan",
    "schema",
    "transactions",
]

Rows = Callable[["pa.Table | None"], "pa.Table | None"]
Transactions = Mapping[str, int]
"""Version of each application transaction that stands in a table, by its id."""


@dataclass(frozen=True)
class Commit:
    """One commit of a table's history.

    Attributes:
        version: Its number.
        at: When it was written, by the writer's clock (UTC).
        facts: What its writer noted: the operation, and what `replace` was given.
    """

    version: int
    at: datetime
    facts: Mapping[str, Any]


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
    where = [(column, "=", value) for column, value in partition.items()]
    with scan(lake, path, where, tmp) as rows:
        return None if rows is None else rows.to_table()


@contextmanager
def scan(lake: Lake, path: str, where: Where, tmp: Path | None = None) -> Iterator[Dataset | None]:
    """The partitions that meet all conditions, to be read while the context lasts; none if there is no table.

    Args:
        lake: Where the table is.
        path: Lake path of the table's folder.
        where: Conditions; a file of no such partition is not fetched.
        tmp: Folder on local disk for files while they are read; without it the system's.

    Raises:
        StorageError: The table cannot be read, or a file of it is gone.
    """
    with open_mirror(lake, path, tmp) as mirror, mirror.explained():
        yield mirror.dataset(where)


def transactions(lake: Lake, path: str, tmp: Path | None = None) -> Transactions:
    """What stands in the table of application transactions; nothing if there is no table.

    Raises:
        StorageError: The table's log cannot be read.
    """
    with open_mirror(lake, path, tmp) as mirror:
        return mirror.transactions()


def schema(lake: Lake, path: str, tmp: Path | None = None) -> pa.Schema | None:
    """Columns of a table; none if there is no table.

    Raises:
        StorageError: The table's log cannot be read.
    """
    with open_mirror(lake, path, tmp) as mirror:
        return mirror.schema()


def history(lake: Lake, path: str) -> Iterator[Commit]:
    """All commits of a table, the first one first.

    Raises:
        StorageError: A commit cannot be read.
    """
    folder = f"{path}/{LOG}"
    files = [file for file in lake.list(folder) if file.endswith(".json")]
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        for file, data in zip(files, pool.map(lake.read, files), strict=True):
            try:
                actions = [json.loads(line) for line in data.splitlines() if line.strip()]
                facts: dict[str, Any] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
                at = datetime.fromtimestamp(facts.get("timestamp", 0) / 1000, UTC)
                yield Commit(version=int(Path(file).stem), at=at, facts=facts)
            except (ValueError, TypeError, AttributeError) as error:
                raise unreadable(lake, path, f"{Path(file).name} says nothing that can be understood") from error


def replace(
    lake: Lake,
    path: str,
    layout: Layout,
    batches: Iterable[pa.RecordBatch],
    *,
    choose: Callable[[Transactions], Mapping[str, tuple[str, int]]],
    notes: Callable[[Collection[str]], Mapping[str, Any]],
    tmp: Path | None = None,
) -> list[str]:
    """Put rows in the place of all that some partitions hold, in one commit; the table is made where there is none.

    Other partitions are neither fetched nor changed. Memory is bounded, however many rows there are.

    Args:
        lake: Where the table is.
        path: Lake path of the table's folder.
        layout: How the table is made; columns that it has not are added to it.
        batches: The rows, all columns of `layout` in its order; read once. Rows of other partitions than the chosen
            ones are left out.
        choose: Given the transactions that stand, the values of the first partition column to replace, each with the id
            and version of the transaction that is written with it. It is asked again where another writer was quicker,
            and may then choose less, never more.
        notes: Given the values that are replaced, what is noted in the commit; asked after all rows were read.
        tmp: Folder on local disk for files while they are written; without it the system's.

    Returns:
        The values whose partitions were replaced.

    Raises:
        BusyError: Other writers were quicker each time.
        StorageError: The table cannot be read or written.
    """
    with open_mirror(lake, path, tmp) as mirror:
        chosen = choose(mirror.transactions())
        if not chosen:
            return []
        files = mirror.write(layout, batches, chosen)
        for _ in mirror.attempts():
            chosen = choose(mirror.transactions())
            if not chosen or mirror.commit_files(layout, files, chosen, notes(chosen)):
                break
        else:
            raise mirror.busy()
        mirror.forget(file for file in files if file.values[0] not in chosen)
        return list(chosen)


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
    where = [(column, "=", value) for column, value in partition.items()]
    with open_mirror(lake, path, tmp) as mirror:
        for _ in mirror.attempts():
            table = rows(mirror.rows(where))
            if table is None:
                return False
            if mirror.commit(table, list(partition)):
                return True
        raise mirror.busy()
