"""Reads CSV rows in batches with bounded memory, and knows the number of each row."""

from __future__ import annotations

import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from noria.errors import SourceError
from noria.pipeline import Column, Csv
from noria.tables.header import Header
from noria.tables.quarantine import Quarantine
from noria.tables.text import TextStream

BLOCK_BYTES = 1 << 20
MOST_MALFORMED_ROWS = 1_000_000
"""With more rows of the wrong width before the next good batch, a file is not the declared table; bounds the memory."""
RowNumbers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class TextRows:
    """A batch of rows as text.

    Attributes:
        columns: One array of text for each declared column, in order; null where the text means null.
        numbers: Number of each row, 1 for the first line of data.
        damaged: Whether bytes that are not UTF-8 may be among them, as U+FFFD.
    """

    columns: pa.RecordBatch
    numbers: RowNumbers
    damaged: bool


def read_rows(
    path: Path, settings: Csv, columns: Sequence[Column], header: Header, quarantine: Quarantine
) -> Iterator[TextRows]:
    """Stream the rows; those with too few or too many fields go to the quarantine.

    Raises:
        SourceError: The text cannot be split into rows: a quote that is never closed, or a row of more than 1 MB.
    """
    malformed = _MalformedRows(quarantine)
    names = [f"field{i}" for i in range(len(header.found))]
    done = 0
    with path.open("rb") as file:
        stream = TextStream(file)
        try:
            reader = csv.open_csv(
                pa.PythonFile(stream, mode="r"),
                read_options=csv.ReadOptions(
                    use_threads=False, block_size=BLOCK_BYTES, column_names=names, skip_rows_after_names=1
                ),
                parse_options=csv.ParseOptions(
                    delimiter=settings.delimiter, newlines_in_values=True, invalid_row_handler=malformed.skip
                ),
                convert_options=_convert_options(settings, columns, [names[i] for i in header.positions]),
            )
            for batch in reader:
                numbers = malformed.numbers(done, batch.num_rows)
                done += batch.num_rows
                malformed.flush()
                yield TextRows(_ambiguous_nulls(batch, settings, columns), numbers, stream.damaged)
        except pa.ArrowInvalid as error:
            raise malformed.explain(done, error) from None
    malformed.flush()


def _convert_options(settings: Csv, columns: Sequence[Column], names: Sequence[str]) -> csv.ConvertOptions:
    ambiguous = _declared_nulls(settings, columns)
    return csv.ConvertOptions(
        check_utf8=False,
        column_types={name: pa.string() for name in names},
        include_columns=list(names),
        null_values=[v for v in settings.null_values if v not in ambiguous],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )


def _declared_nulls(settings: Csv, columns: Sequence[Column]) -> set[str]:
    """Texts that mean null in general but are an allowed value of some column, such as a country NA."""
    return set(settings.null_values) & {str(v) for c in columns for v in c.values or ()}


def _ambiguous_nulls(batch: pa.RecordBatch, settings: Csv, columns: Sequence[Column]) -> pa.RecordBatch:
    import pyarrow.compute as pc

    ambiguous = _declared_nulls(settings, columns)
    if not ambiguous:
        return batch
    arrays = []
    for column, text in zip(columns, batch.columns, strict=True):
        nulls = pa.array(sorted(ambiguous - {str(v) for v in column.values or ()}), pa.string())
        arrays.append(pc.if_else(pc.is_in(text, value_set=nulls), pa.scalar(None, pa.string()), text))
    return pa.record_batch(arrays, names=batch.schema.names)


class _MalformedRows:
    """Rows of the wrong width, as the CSV parser reports them while it works on a block."""

    def __init__(self, quarantine: Quarantine) -> None:
        self._quarantine = quarantine
        self._numbers = array.array("q")
        self._pending: list[tuple[int, str, str]] = []
        self._passed = 0
        self._hopeless = False

    def skip(self, row: Any) -> str:
        """The parser's question what to do with such a row."""
        number = row.number - 1  # the parser counts the header as well
        self._numbers.append(number)
        what = "too few fields" if row.actual_columns < row.expected_columns else "too many fields"
        lines = row.text.rstrip("\r\n").count("\n")
        self._pending.append((number, row.text, f"{what}, a quote is not closed" if lines else what))
        self._quarantine.rows += 1 + lines
        if len(self._pending) >= 10_000:
            self.flush()
            self._quarantine.flush()
        self._hopeless = len(self._numbers) > MOST_MALFORMED_ROWS
        return "error" if self._hopeless else "skip"

    def numbers(self, done: int, count: int) -> RowNumbers:
        """Numbers of the next `count` good rows when `done` good rows came before."""
        malformed = np.frombuffer(self._numbers, dtype=np.int64) if self._numbers else np.empty(0, np.int64)
        good = np.arange(done + 1, done + count + 1, dtype=np.int64) + self._passed
        # the i-th malformed row shifts every good row from its number minus i on
        numbers: RowNumbers = good + np.searchsorted(malformed - np.arange(len(malformed)), good, side="right")
        past = int(np.searchsorted(malformed, numbers[-1])) if count else 0
        del malformed
        self._numbers = self._numbers[past:]
        self._passed += past
        return numbers

    def flush(self) -> None:
        """Write down what has come."""
        by_reason: dict[str, list[tuple[int, str]]] = {}
        for number, text, reason in self._pending:
            by_reason.setdefault(reason, []).append((number, text))
        for reason, rows in by_reason.items():
            self._quarantine.add([n for n, _ in rows], "", [t for _, t in rows], reason)
        self._pending.clear()

    def explain(self, done: int, error: pa.ArrowInvalid) -> SourceError:
        """What the parser's error means to people."""
        self.flush()
        if self._hopeless:
            return SourceError(
                f"more than {MOST_MALFORMED_ROWS} rows in a sequence have another number of fields than the header",
                expected="one table with one delimiter",
                remedy="Look at the file, or mend `csv.delimiter` in pipeline.yaml.",
            )
        return SourceError(
            f"after data row {done + self._passed + len(self._numbers)} the text cannot be split into rows ({error})",
            expected="closed quotes and rows of less than 1 MB",
            remedy="Look for a quotation mark that is not closed.",
        )
