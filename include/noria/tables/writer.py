"""Writes the typed table as Parquet, in a thread beside the one that reads."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

GROUP_ROWS = 65_536


class TableWriter:
    """Row groups of a useful size; at most one of them waits to be written, so memory stays bounded."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._parquet = pq.ParquetWriter(path, schema, compression="zstd")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parquet")
        self._pending: Future[None] | None = None
        self._group: list[pa.RecordBatch] = []
        self._rows = 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._parquet, self._thread:
            if kind is None:
                self._flush()
                self._wait()

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._group.append(batch)
        self._rows += batch.num_rows
        if self._rows >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        self._wait()
        if self._rows:
            table = pa.Table.from_batches(self._group, self._schema)
            self._pending = self._thread.submit(self._parquet.write_table, table)
        self._group, self._rows = [], 0

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
