"""The first line of a text table, matched with the declared columns."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noria.errors import SourceError
from noria.pipeline import Column, Csv, normalise_header
from noria.tables.text import REPLACEMENT, TextStream

_HEAD_BYTES = 1 << 20
_OTHER_FORMATS = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PAR1": "Parquet",
}


@dataclass(frozen=True)
class Header:
    """The headers of a file, understood.

    Attributes:
        found: As they stand in the file.
        positions: Position of each declared column, in the order of the declaration.
        extra: Headers that no column declares.
    """

    found: tuple[str, ...]
    positions: tuple[int, ...]
    extra: tuple[str, ...]


def read_header(path: Path, settings: Csv, columns: Sequence[Column]) -> Header:
    """Match the first line of a file with the declared columns, by normalised name or alias.

    Raises:
        SourceError: The file is empty or not text, a column is missing, or a column stands twice.
    """
    found = _first_record(path, settings)
    by_name = {normalise_header(h): c.name for c in columns for h in (c.name, *c.aliases)}
    position: dict[str, int] = {}
    extra = []
    for index, header in enumerate(found):
        name = by_name.get(normalise_header(header))
        if name is None:
            extra.append(header)
        elif name in position:
            raise SourceError(
                f"the headers {found[position[name]]!r} and {header!r} both mean column {name!r}",
                expected="each column once",
                remedy="Rename one of them in the source, or take its alias out of pipeline.yaml.",
            )
        else:
            position[name] = index
    missing = [c for c in columns if c.name not in position]
    if missing:
        raise _missing(missing, found, extra)
    return Header(tuple(found), tuple(position[c.name] for c in columns), tuple(extra))


def _first_record(path: Path, settings: Csv) -> list[str]:
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        head = TextStream(file).read(_HEAD_BYTES)
    for magic, name in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise SourceError(f"the file is {name}", expected="plain CSV text", remedy="Unpack or convert it first.")
    if not head.strip():
        raise SourceError("the file is empty", expected="a CSV file with a header line", remedy="Check the source.")
    text = head.decode("utf-8", errors="replace")
    if "\0" in text[:1024]:
        raise SourceError("the file holds zero bytes: it is UTF-16 or no text at all", expected="CSV in UTF-8")
    try:
        found = next(csv.reader(io.StringIO(text, newline=""), delimiter=settings.delimiter))
    except (csv.Error, StopIteration) as error:
        raise SourceError(f"the header line cannot be read: {error}", expected="a CSV file") from None
    if any(REPLACEMENT in h for h in found):
        raise SourceError(f"the header line is not UTF-8 text: {', '.join(found)}", expected="CSV in UTF-8")
    return found


def _missing(missing: Sequence[Column], found: Sequence[str], extra: Sequence[str]) -> SourceError:
    names = ", ".join(repr(c.name) for c in missing)
    known = {normalise_header(h): h for h in extra}
    close = [f"{header!r} looks like {column.name!r}" for column in missing for header in _close(column, known)]
    hint = f"{'; '.join(close)}: add it under `aliases:` of that column" if close else "Rename it in the source"
    return SourceError(
        f"column{'s' * (len(missing) > 1)} {names} missing; the headers are {', '.join(repr(h) for h in found)}",
        expected="one header for each declared column (case, spaces and punctuation do not matter)",
        remedy=f"{hint}, or mend `columns:` or `csv.delimiter` in pipeline.yaml.",
    )


def _close(column: Column, known: dict[str, str]) -> list[str]:
    forms = [normalise_header(h) for h in (column.name, *column.aliases)]
    matches = {m for form in forms for m in difflib.get_close_matches(form, known, n=1, cutoff=0.7)}
    return [known[m] for m in sorted(matches)]
