"""Rows that come in any order become Parquet files by partition, in bounded memory."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from deltalake.transaction import AddAction

_BUFFERED_BYTES = 192_000_000
"""How much waits in memory, over all partitions, before it is written."""
_THREADS = min(4, os.cpu_count() or 1)

Values = tuple[str, ...]


@dataclass(frozen=True)
class PartFile:
    """A data file with rows of one partition.

    Attributes:
        path: Below the table's folder.
        values: Of the columns that the table is partitioned by.
        size_bytes: Its size.
        rows: How many it has.
    """

    path: str
    values: Values
    size_bytes: int
    rows: int

    def added(self, partition_by: Sequence[str]) -> AddAction:
        """What a commit says of it."""
        from deltalake.transaction import AddAction

        return AddAction(
            path=self.path,
            size=self.size_bytes,
            partition_values=dict(zip(partition_by, self.values, strict=True)),
            modification_time=time.time_ns() // 1_000_000,
            data_change=True,
            stats=json.dumps({"numRecords": self.rows}),
        )


def write_partitions(
    folder: Path, partition_by: Sequence[str], batches: Iterable[pa.RecordBatch], chosen: Collection[str]
) -> list[PartFile]:
    """Write one file for each partition that has rows.

    Args:
        folder: Where; files get paths as Hive names partitions.
        partition_by: Text columns; they become part of the path and no columns of the file.
        batches: The rows.
        chosen: Values of the first partition column; rows with others are left out.
    """
    writers: dict[Values, _Writer] = {}
    waiting = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in batches:
            for values, rows in _split(batch, partition_by):
                if values[0] in chosen:
                    if values not in writers:
                        writers[values] = _Writer(folder, partition_by, values)
                    writers[values].add(rows)
                    waiting += rows.nbytes
            if waiting > _BUFFERED_BYTES:
                list(pool.map(_Writer.flush, writers.values()))
                waiting = 0
        return list(pool.map(_Writer.close, writers.values()))


class _Writer:
    """The file of one partition, and the rows that wait to be written to it."""

    def __init__(self, folder: Path, partition_by: Sequence[str], values: Values) -> None:
        self._values, self._rows = values, 0
        parts = [f"{column}={value}" for column, value in zip(partition_by, values, strict=True)]
        self._path = "/".join([*parts, f"part-00000-{uuid.uuid4()}-c000.snappy.parquet"])
        self._file = folder / self._path
        self._waiting: list[pa.RecordBatch] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, rows: pa.RecordBatch) -> None:
        self._waiting.append(rows)

    def flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting)
        self._waiting = []
        if self._writer is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._file, table.schema, compression="snappy", store_schema=False)
        self._writer.write_table(table)
        self._rows += table.num_rows

    def close(self) -> PartFile:
        self.flush()
        assert self._writer is not None  # noqa: S101  a writer is made when rows are
        self._writer.close()
        return PartFile(self._path, self._values, self._file.stat().st_size, self._rows)


def _split(batch: pa.RecordBatch, partition_by: Sequence[str]) -> Iterator[tuple[Values, pa.RecordBatch]]:
    """Rows of a batch by partition, without the columns that it is partitioned by."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = pa.table({column: batch.column(column) for column in partition_by})
    rest = batch.drop_columns(list(partition_by))
    found = keys.group_by(list(partition_by)).aggregate([]).to_pylist()
    if len(found) > 1:
        order = pc.sort_indices(keys, sort_keys=[(column, "ascending") for column in partition_by])
        keys, rest = keys.take(order), rest.take(order)
    begin = 0
    for values in sorted(tuple(row[column] for column in partition_by) for row in found):
        count = batch.num_rows if len(found) == 1 else _count(keys, partition_by, values)
        yield values, rest.slice(begin, count)
        begin += count


def _count(keys: pa.Table, partition_by: Sequence[str], values: Values) -> int:
    import pyarrow.compute as pc

    equal = None
    for column, value in zip(partition_by, values, strict=True):
        same = pc.equal(keys[column], value)
        equal = same if equal is None else pc.and_(equal, same)
    return int(pc.sum(equal).as_py() or 0)
