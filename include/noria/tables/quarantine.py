"""Rows that do not fit: a CSV with row number, column, value and reason, and counts by reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
from pyarrow import csv

_SCHEMA = pa.schema([("row", pa.int64()), ("column", pa.string()), ("value", pa.string()), ("reason", pa.string())])
_LONGEST_VALUE = 1_000


class Quarantine:
    """Writes what does not fit, as it comes; the file exists only if something came.

    Attributes:
        rows: Rows left out so far.
        reasons: `column: reason` -> rows.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None
        self._waiting: list[pa.RecordBatch] = []
        self.rows = 0
        self.reasons: Counter[str] = Counter()

    def __enter__(self) -> Quarantine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush()
        if self._writer is not None:
            self._writer.close()

    @property
    def path(self) -> Path | None:
        """The file, or none if every row fitted."""
        return self._path if self._writer is not None else None

    def add(self, rows: Any, column: str, values: Any, reason: str) -> None:
        """Note values of one column.

        Args:
            rows: Row numbers, 1 for the first line of data (integers, n).
            column: Name of the column; empty if the row as a whole does not fit.
            values: What stood there (text, n).
            reason: What is wrong with it.
        """
        import pyarrow.compute as pc

        number = len(rows)
        shown = pc.utf8_slice_codeunits(pa.array(values, pa.string()), 0, _LONGEST_VALUE)
        text = [pa.repeat(pa.scalar(t, pa.string()), number) for t in (column, reason)]
        batch = pa.record_batch([pa.array(rows, pa.int64()), text[0], shown, text[1]], schema=_SCHEMA)
        self._waiting.append(batch)
        self.reasons[f"{column or 'row'}: {reason}"] += number

    def flush(self) -> None:
        """Write what has come since the last time, in the order of the rows."""
        if not self._waiting:
            return
        if self._writer is None:
            self._writer = csv.CSVWriter(self._path, _SCHEMA)
        self._writer.write_table(pa.Table.from_batches(self._waiting, _SCHEMA).sort_by("row"))
        self._waiting.clear()
