"""From a CSV file to a Parquet table of the declared columns, row by row checked, in one pass with bounded memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noria.errors import SourceError
from noria.pipeline import Column, Csv
from noria.tables.columns import arrow_field, convert
from noria.tables.header import read_header
from noria.tables.quarantine import Quarantine
from noria.tables.reader import TextRows, read_rows
from noria.tables.text import REPLACEMENT
from noria.tables.writer import TableWriter

VERSION = 1
"""Raised whenever the same text would be typed otherwise, so that new snapshots are made."""


@dataclass(frozen=True)
class TypedTable:
    """What came of a file.

    Attributes:
        rows: Rows of the typed table.
        quarantined_rows: Rows that did not fit; a row that an unclosed quote swallowed counts as well.
        reasons: `column: reason` -> rows, most frequent first.
        extra_columns: Headers that no column declares.
        quarantine: File of the quarantined values, or none.
    """

    rows: int
    quarantined_rows: int
    reasons: dict[str, int]
    extra_columns: tuple[str, ...]
    quarantine: Path | None


def typing_fingerprint(columns: Sequence[Column], settings: Csv) -> str:
    """SHA-256 over all that decides how text becomes the typed table."""
    facts = [VERSION, settings.model_dump(mode="json"), [c.model_dump(mode="json") for c in columns]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def type_table(source: Path, settings: Csv, columns: Sequence[Column], table: Path, quarantine: Path) -> TypedTable:
    """Read `source`, write `table` (Parquet) and, if rows do not fit, `quarantine` (CSV).

    Duplicate rows are data and stay; an expectation can forbid them.

    Raises:
        SourceError: The file is not such a table: empty, a column missing, not to be split into rows.
    """
    header = read_header(source, settings, columns)
    schema = pa.schema([arrow_field(c) for c in columns])
    rows = 0
    with Quarantine(quarantine) as kept_out, TableWriter(table, schema) as writer:
        for text in read_rows(source, settings, columns, header, kept_out):
            good = _typed(text, columns, settings.null_values, schema, kept_out)
            kept_out.flush()
            rows += good.num_rows
            writer.write(good)
    if rows + kept_out.rows == 0:
        raise SourceError("the file has a header and no rows", expected="at least one row", remedy="Check the source.")
    return TypedTable(rows, kept_out.rows, dict(kept_out.reasons.most_common()), header.extra, kept_out.path)


def _typed(
    text: TextRows, columns: Sequence[Column], null_values: Sequence[str], schema: pa.Schema, quarantine: Quarantine
) -> pa.RecordBatch:
    """The rows that fit, typed; the others go to the quarantine."""
    arrays = []
    bad: Any = np.zeros(len(text.numbers), dtype=bool)
    swallowed = 0
    for column, values in zip(columns, text.columns.columns, strict=True):
        typed, faults = convert(column, values, null_values)
        if text.damaged:
            faults = _damaged(values, faults)
        for mask, reason in faults:
            where = np.asarray(mask)
            wrong = values.filter(mask)
            quarantine.add(text.numbers[where], column.name, wrong, reason)
            swallowed += pc.sum(pc.count_substring(wrong, "\n")).as_py() or 0
            bad |= where
        arrays.append(typed)
    if not bad.any():
        return pa.record_batch(arrays, schema=schema)
    quarantine.rows += int(bad.sum()) + swallowed
    good = pa.array(~bad)
    return pa.record_batch([a.filter(good) for a in arrays], schema=schema)


def _damaged(text: pa.StringArray, faults: list[Any]) -> list[Any]:
    """Undecodable bytes are the first reason; others do not matter then."""
    damaged = pc.fill_null(pc.match_substring(text, REPLACEMENT), False)
    if not pc.any(damaged).as_py():
        return faults
    rest = [(pc.and_not(mask, damaged), reason) for mask, reason in faults]
    return [(damaged, "not UTF-8 text"), *(f for f in rest if pc.any(f[0]).as_py())]
