"""Looking at a CSV: delimiter, columns, types, nulls and ranges, in one pass with bounded memory."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noria.errors import InputError
from noria.pipeline import Csv, normalise_header

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_BYTES = 256 * 1024
DELIMITERS = (",", ";", "\t", "|")
DISTINCT_CAP = 100_000
"""Distinct values remembered of a column; a column with more is told apart by nothing that needs the exact number."""
MAX_BLANKS = 20
KINDS = {
    "integer": r"^[+-]?[0-9]{1,18}$",
    "number": r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$",
    "boolean": r"^(?i:true|false)$",
    "date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "datetime": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?$",
}
MAGIC = {b"PK\x03\x04": "a zip or Excel file", b"PAR1": "a Parquet file", b"\x1f\x8b": "a gzip file", b"%PDF": "a PDF"}


@dataclass
class ColumnFacts:
    """What was seen of one column."""

    header: str
    position: int
    nulls: int = 0
    blanks: set[str] = field(default_factory=set)
    """Cells of nothing but spaces, as they are written; they count as nulls."""
    filled: int = 0
    fits: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    counts: dict[str, int] = field(default_factory=dict)
    """Value -> rows, of the first DISTINCT_CAP values."""
    many: bool = False
    """Whether there were more distinct values than are remembered."""
    minimum: float = math.inf
    maximum: float = -math.inf
    total: float = 0.0
    squares: float = 0.0
    longest: int = 0

    @property
    def type(self) -> str:
        """The narrowest type that every value fits; `text` if none does."""
        if not self.filled:
            return "empty"
        return next((kind for kind, fits in self.fits.items() if fits == self.filled), "text")

    @property
    def is_numeric(self) -> bool:
        """Whether all values are numbers."""
        return self.type in ("integer", "number")

    @property
    def distinct(self) -> int:
        """Distinct values; a lower bound where `many`."""
        return len(self.counts)

    @property
    def mean(self) -> float:
        """Arithmetic mean of a numeric column."""
        return self.total / self.filled

    @property
    def sd(self) -> float:
        """Standard deviation of a numeric column."""
        return math.sqrt(max(self.squares / self.filled - self.mean**2, 0.0))


@dataclass(frozen=True)
class Table:
    """What was seen of a CSV file."""

    path: Path
    delimiter: str
    rows: int
    odd_rows: int
    """Rows with too many or too few cells."""
    columns: tuple[ColumnFacts, ...]
    unnamed: int
    """Columns without a header, such as the index that pandas writes; they are passed over."""

    @property
    def null_values(self) -> tuple[str, ...]:
        """Texts that mean nothing; the usual ones, and cells of spaces where there are any."""
        blanks = {blank for column in self.columns for blank in column.blanks}
        return (*Csv().null_values, *sorted(blanks))


def look(path: Path) -> Table:
    """Read a CSV once.

    Raises:
        InputError: The file is missing, empty, no UTF-8 text, no CSV, or its headers are not distinct.
    """
    sample, ends = _sample(path)
    delimiter, headers = _sniff(path, sample, ends)
    columns = [ColumnFacts(header, i) for i, header in enumerate(headers)]
    named = [c for c in columns if normalise_header(c.header)]
    _check_headers(path, named)
    rows = odd_rows = 0
    for batch, odd in _batches(path, delimiter, len(headers)):
        odd_rows = odd
        rows += batch.num_rows
        for column in named:
            _observe(column, batch.column(column.position))
    if rows == 0:
        raise InputError(f"{path}: a header and no rows", expected="at least one row of data")
    return Table(path, delimiter, rows, odd_rows, tuple(named), len(columns) - len(named))


def _sample(path: Path) -> tuple[str, bool]:
    """The first part of the file as text, and whether that is all of it."""
    try:
        with path.open("rb") as stream:
            head = stream.read(SAMPLE_BYTES)
            ends = not stream.read(1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", expected="a CSV file that can be read") from None
    if not head.strip():
        raise InputError(f"{path}: the file is empty", expected="a header line and rows")
    for magic, what in MAGIC.items():
        if head.startswith(magic):
            raise InputError(f"{path}: {what}", expected="a CSV text", remedy="Unpack or export it as CSV first.")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path}: UTF-16 text", expected="UTF-8", remedy=_iconv(path, "UTF-16"))
    if b"\0" in head:
        raise InputError(f"{path}: a binary file", expected="a CSV text")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:200].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise InputError(
            f"{path}: a web page (HTML or XML)",
            expected="a CSV text",
            remedy="The link was perhaps that of a page about the file; on GitHub take the one of the button 'Raw'.",
        )
    if not ends:
        head = head[: head.rfind(b"\n") + 1] or head
    try:
        return head.decode("utf-8-sig"), ends
    except UnicodeDecodeError:
        raise _not_utf8(path) from None


def _not_utf8(path: Path) -> InputError:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                shown = line[max(error.start - 10, 0) : error.end + 10]
                return InputError(
                    f"{path}:{number}: bytes that are not UTF-8: {shown!r}",
                    expected="UTF-8",
                    remedy=_iconv(path, "WINDOWS-1252"),
                )
    return InputError(f"{path}: bytes that are not UTF-8", expected="UTF-8")


def _iconv(path: Path, encoding: str) -> str:
    return f"Convert it, such as with: iconv -f {encoding} -t UTF-8 '{path}' > '{path.stem}-utf8.csv'"


def _sniff(path: Path, sample: str, ends: bool) -> tuple[str, list[str]]:
    """Delimiter and header: the delimiter that cuts most rows into as many cells as the header, most cells first."""
    best: tuple[float, int, str, list[str]] | None = None
    for delimiter in DELIMITERS:
        rows = [r for r in csv.reader(sample.splitlines(keepends=True), delimiter=delimiter) if r]
        rows = rows if ends or len(rows) < 3 else rows[:-1]  # a quoted line break may be cut in half
        width = len(rows[0])
        agree = sum(len(r) == width for r in rows) / len(rows)
        if width > 1 and (best is None or (agree, width) > best[:2]):
            best = (agree, width, delimiter, rows[0])
    if best is None or best[0] < 0.5:
        first = sample.splitlines()[0][:80]
        raise InputError(
            f"{path}:1: no table: the first line is {first!r}",
            expected="at least two columns divided by a comma, semicolon, tab or bar, in every row the same number",
        )
    return best[2], best[3]


def _check_headers(path: Path, columns: list[ColumnFacts]) -> None:
    seen: dict[str, ColumnFacts] = {}
    for column in columns:
        other = seen.setdefault(normalise_header(column.header), column)
        if other is not column:
            raise InputError(
                f"{path}:1: columns {other.position + 1} and {column.position + 1} are both called {column.header!r}",
                expected="headers that differ in more than case, spaces and punctuation",
                remedy="Rename one of them.",
            )
    if len(columns) < 2:
        raise InputError(f"{path}:1: {len(columns)} named column", expected="a target and at least one feature")


def _batches(path: Path, delimiter: str, width: int) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Batches of text columns, with the number of odd rows up to there."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names = [str(i) for i in range(width)]
    odd = 0

    def skip(_row: Any) -> str:
        nonlocal odd
        odd += 1
        return "skip"

    try:
        reader = arrow_csv.open_csv(
            path,
            read_options=arrow_csv.ReadOptions(column_names=names, skip_rows=1, block_size=4 << 20),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip, ignore_empty_lines=True
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
        for batch in reader:
            yield batch, odd
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise _not_utf8(path) from None
        if "Empty CSV" in str(error):
            return
        raise InputError(f"{path}: {error}", expected="a CSV text") from None


def _observe(column: ColumnFacts, cells: pa.Array) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(cells)
    nulls = pc.is_in(text, value_set=pa.array(Csv().null_values, pa.string()))
    column.nulls += pc.sum(nulls).as_py() or 0
    if nulls.true_count and len(column.blanks) < MAX_BLANKS:
        column.blanks |= {t for t in pc.unique(cells.filter(nulls)).to_pylist() if t.isspace()}
    filled = text.filter(pc.invert(nulls))
    if not len(filled):
        return
    before, column.filled = column.filled, column.filled + len(filled)
    for kind, pattern in KINDS.items():
        if column.fits[kind] == before:
            column.fits[kind] += pc.sum(pc.match_substring_regex(filled, pattern)).as_py()
    column.longest = max(column.longest, pc.max(pc.utf8_length(filled)).as_py())
    if not column.many:
        for pair in pc.value_counts(filled).to_pylist():
            column.counts[pair["values"]] = column.counts.get(pair["values"], 0) + pair["counts"]
        column.many = len(column.counts) > DISTINCT_CAP
    if column.fits["number"] == column.filled:
        numbers = pc.cast(pc.utf8_ltrim(filled, "+"), pa.float64())
        column.minimum = min(column.minimum, pc.min(numbers).as_py())
        column.maximum = max(column.maximum, pc.max(numbers).as_py())
        column.total += pc.sum(numbers).as_py()
        column.squares += pc.sum(pc.multiply(numbers, numbers)).as_py()
