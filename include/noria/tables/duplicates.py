"""Rows that stand more than once: legal data, worth a line in the log."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

MOST_ROWS = 500_000
"""Counting holds the table in memory, so larger ones are not counted."""


def count_duplicates(table: Path) -> int | None:
    """Rows that equal an earlier row; none if the table is too large to look."""
    if pq.read_metadata(table).num_rows > MOST_ROWS:
        return None
    rows = pq.read_table(table)
    distinct = rows.group_by(rows.column_names).aggregate([]).num_rows
    return int(rows.num_rows - distinct)
