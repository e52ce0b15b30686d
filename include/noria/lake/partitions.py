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

_BUFFERED_BYTES = 96_000_000
"""So much waits in memory, over all partitions, before it is written, while as much again is read."""
_SEPARATOR = "\x1f"
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
        batches: The rows; text may be dictionary-encoded.
        chosen: Values of the first partition column; rows with others are left out.
    """
    writers: dict[Values, _Writer] = {}
    waiting_bytes = 0
    written: Iterator[None] = iter(())
    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in batches:
            waiting_bytes += batch.nbytes
            for values, rows in _split(batch, partition_by):
                if values[0] in chosen:
                    if values not in writers:
                        writers[values] = _Writer(folder, partition_by, values)
                    writers[values].add(rows)
            if waiting_bytes > _BUFFERED_BYTES:
                list(written)
                written = pool.map(_Writer.flush, list(writers.values()))
                waiting_bytes = 0
        list(written)
        return list(pool.map(_Writer.close, writers.values()))


class _Writer:
    """The file of one partition, and the rows that wait to be written to it."""

    def __init__(self, folder: Path, partition_by: Sequence[str], values: Values) -> None:
        self._values, self._rows = values, 0
        parts = [f"{column}={value}" for column, value in zip(partition_by, values, strict=True)]
        self._path = "/".join([*parts, f"part-00000-{uuid.uuid4()}.snappy.parquet"])
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
        waiting, self._waiting = self._waiting, []
        table = pa.Table.from_batches(waiting).unify_dictionaries().combine_chunks()
        table = pa.table([_compact(column) for column in table.columns], names=table.schema.names)
        if self._writer is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            amounts = [column.name for column in table.schema if pa.types.is_decimal(column.type)]
            self._writer = pq.ParquetWriter(
                self._file,
                table.schema,
                compression="snappy",
                use_dictionary=[name for name in table.schema.names if name not in amounts],
                write_statistics=amounts,  # the least and the greatest text of rows in no order help no reader
                store_schema=False,
            )
        self._writer.write_table(table)
        self._rows += table.num_rows

    def close(self) -> PartFile:
        self.flush()
        assert self._writer is not None  # noqa: S101  a writer is made when rows are
        self._writer.close()
        return PartFile(self._path, self._values, self._file.stat().st_size, self._rows)


def _compact(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Without the values of a dictionary that other partitions have and this one has not."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type) or column.num_chunks != 1:
        return column
    chunk = column.chunk(0)
    used = chunk.indices.dictionary_encode()
    return pa.DictionaryArray.from_arrays(used.indices, chunk.dictionary.take(used.dictionary))


def _split(batch: pa.RecordBatch, partition_by: Sequence[str]) -> Iterator[tuple[Values, pa.RecordBatch]]:
    """Rows of a batch by partition, without the columns that it is partitioned by."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = [batch.column(column).cast(pa.string()) for column in partition_by]
    keys = pc.binary_join_element_wise(*texts, _SEPARATOR).dictionary_encode()
    rows = batch.drop_columns(list(partition_by))
    if len(keys.dictionary) > 1:
        rows = rows.take(pc.sort_indices(keys.indices))
    counts = {row["values"]: row["counts"] for row in keys.indices.value_counts().to_pylist()}
    begin = 0
    for number, key in enumerate(keys.dictionary.to_pylist()):
        yield tuple(key.split(_SEPARATOR)), rows.slice(begin, counts[number])
        begin += counts[number]
