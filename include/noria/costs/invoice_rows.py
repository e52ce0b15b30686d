"""Rows of a delivered invoice become rows of the table: FOCUS 1.0 as Azure writes it, in any type that it uses.

Money comes as decimals, doubles or text; times as timestamps, dates or text, with seconds (1.0r2) or without (1.0);
tags as a JSON object, as one without its braces, or as a map. Columns that FOCUS does not know are kept as they are
called. Names of columns are the same in any case, as Delta has them.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noria.costs import focus
from noria.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)
_BATCH_ROWS = 65_536
_MONEY_DIGITS, _MONEY_SCALE = 38, 18
_WIDE_DIGITS, _WIDE_SCALE, _TINY = 76, 38, 1e-19
"""Room for all digits of a double before it is rounded to the last one that is kept; below `_TINY` it becomes zero."""
_REFUSED_CHARACTERS = frozenset(" ,;{}()\n\t=")
"""Delta has no such column names."""
_CACHED_TAGS = 100_000
_LABELS = {"noria:pipeline": focus.PIPELINE, "noria:run": focus.RUN, "noria:stage": focus.STAGE}
_EXPECTED = {
    "BilledCost": "an amount",
    "EffectiveCost": "an amount",
    "BillingCurrency": "a currency",
    "ChargePeriodStart": "a time",
}
"""What no row of an invoice can do without."""
_MOST_SHOWN = 80
"""Characters of a value that an error shows."""


@dataclass(frozen=True)
class Part:
    """A delivered file.

    Attributes:
        name: What errors call it.
        file: Where it is on local disk.
        rows: How many rows it is said to have, if anything is said.
    """

    name: str
    file: Path
    rows: int | None


@dataclass(frozen=True)
class Invoice:
    """Delivered files that belong together, for the days from `first` to `last`.

    An invoice may hold charges of days before it, such as a correction of the last month; they are booked on its first
    day, and those of later days on its last, so that the amounts are right and the next delivery replaces them too.

    Attributes:
        parts: The files.
        first, last: Days (UTC) that rows are booked on.
        more: Columns that the table will have besides those of `focus.schema()`, which these files have.
        moved: Of the rows read so far, how many are booked on another day than their own, by the day that they are of.
    """

    parts: Sequence[Part]
    first: date
    last: date
    more: pa.Schema
    moved: Counter[date] = field(default_factory=Counter)
    _tags: dict[str, tuple[str | None, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, parts: Sequence[Part], first: date, last: date, stands: pa.Schema | None) -> Invoice:
        """Look at the files' columns.

        Args:
            parts: The files.
            first: First day that they have rows of.
            last: Last day that they have rows of.
            stands: Columns that the table has already; they keep their types.

        Raises:
            InputError: A file is no Parquet file, has another number of rows than was said, or lacks a required column.
        """
        import pyarrow as pa

        kept = {column.name.lower(): column for column in stands or ()}
        more: dict[str, pa.Field] = {}
        for part in parts:
            for name, kind in _further(_columns(part), part).items():
                more.setdefault(name.lower(), kept.get(name.lower(), pa.field(name, kind)))
        return cls(parts, first, last, pa.schema([pa.field(column.name, column.type) for column in more.values()]))

    def batches(self, origin: str) -> Iterator[pa.RecordBatch]:
        """All rows, in the layout of `focus.schema()` and then `more`; text is dictionary-encoded, which costs least.

        Raises:
            InputError: A value cannot be understood, or a row is of no day, or has no amount or no currency.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([_encoded(column) for column in (*focus.schema(), *self.more)])
        encoded = {column.name for column in schema if pa.types.is_dictionary(column.type)}
        for part in self.parts:
            try:
                delivered = pq.read_schema(part.file)
                texts = [c.name for c in delivered if c.name in encoded and pa.types.is_string(c.type)]
                rows = 0
                with pq.ParquetFile(part.file, read_dictionary=texts) as file:
                    for batch in file.iter_batches(_BATCH_ROWS):
                        yield self._normal(batch, _Place(part, rows), schema, origin)
                        rows += batch.num_rows
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise _unreadable(part, error) from error

    def _normal(self, batch: pa.RecordBatch, place: _Place, schema: pa.Schema, origin: str) -> pa.RecordBatch:
        import pyarrow as pa

        delivered = dict(zip(batch.schema.names, batch.columns, strict=True))
        given = {name: delivered[spelled] for name, spelled in _spellings(schema.names, list(delivered)).items()}
        required = {name: _required(name, given, schema, place) for name in _EXPECTED}
        own = {
            focus.DAY: self._days(required["ChargePeriodStart"]),
            focus.ORIGIN: pa.repeat(origin, batch.num_rows).dictionary_encode(),
        }
        own |= {name: pa.nulls(batch.num_rows, schema.field(name).type) for name in (focus.MACHINE, focus.OUTCOME)}
        own |= {name: pa.nulls(batch.num_rows, schema.field(name).type) for name in focus.FIGURES}
        tags = _converted("Tags", given, schema, place) if "Tags" in given else None
        own |= self._labels(tags, batch.num_rows) | required
        columns = []
        for name in schema.names:
            if name in own:
                columns.append(own[name])
            elif name not in given:
                columns.append(pa.nulls(batch.num_rows, schema.field(name).type))
            else:
                columns.append(_converted(name, given, schema, place))
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def _days(self, start: pa.Array) -> pa.Array:
        """The day that each row is booked on."""
        import pyarrow as pa

        values = start.dictionary_encode()
        own = [moment.date() for moment in values.dictionary.to_pylist()]
        booked = [min(max(day, self.first), self.last) for day in own]
        if own != booked:
            for row in values.indices.value_counts().to_pylist():
                if own[row["values"]] != booked[row["values"]]:
                    self.moved[own[row["values"]]] += row["counts"]
        days = pa.array([day.isoformat() for day in booked], pa.string())
        return days.take(values.indices).dictionary_encode()

    def _labels(self, tags: pa.DictionaryArray | None, rows: int) -> dict[str, pa.Array]:
        """Tags as a JSON object, and the labels among them, each as a column."""
        import pyarrow as pa

        names = ("Tags", *_LABELS.values())
        if tags is None:
            return {name: pa.nulls(rows, _text()) for name in names}
        if len(self._tags) > _CACHED_TAGS:
            self._tags.clear()
        known = [self._known(text) for text in tags.dictionary.to_pylist()]
        columns = list(zip(*known, strict=True)) if known else [()] * len(names)
        return {
            name: pa.array(column, pa.string()).take(tags.indices).dictionary_encode()
            for name, column in zip(names, columns, strict=True)
        }

    def _known(self, text: str) -> tuple[str | None, ...]:
        if text not in self._tags:
            self._tags[text] = _labelled(text)
        return self._tags[text]


@dataclass(frozen=True)
class _Place:
    """Some rows of a file; `before` is how many come before them."""

    part: Part
    before: int

    def row(self, index: int) -> str:
        """What errors call one of them."""
        return f"{self.part.name}: row {self.before + index + 1}"


def _columns(part: Part) -> pa.Schema:
    """Columns of a delivered file.

    Raises:
        InputError: It is none, or not the one that was announced, or it lacks a required column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(part.file) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(part, error) from error
    if part.rows is not None and rows != part.rows:
        raise InputError(f"{part.name} has {rows} rows", expected=f"{part.rows}, as the manifest says")
    found = _spellings(focus.REQUIRED, schema.names)
    if lacking := [name for name in focus.REQUIRED if name not in found]:
        raise InputError(
            f"{part.name} has no column {', '.join(lacking)}",
            expected=f"the columns of FOCUS {focus.FOCUS_VERSION}",
            remedy="See that the export delivers the dataset FocusCost.",
        )
    return schema


def _further(delivered: pa.Schema, part: Part) -> dict[str, pa.DataType]:
    """Columns that FOCUS does not know, with the types that they are kept in; others are left out and told."""
    ours = focus.schema().names
    known, taken = {name.lower() for name in ours}, set(_spellings(ours, delivered.names).values())
    kinds: dict[str, pa.DataType] = {}
    for column in delivered:
        kind = _kept(column.type)
        if column.name in taken:
            continue
        if kind is None or column.name.lower() in known or _REFUSED_CHARACTERS & set(column.name):
            log.warning("%s: the column %r (%s) is left out", part.name, column.name, column.type)
            continue
        known.add(column.name.lower())
        kinds[column.name] = kind
    return kinds


def _spellings(names: Sequence[str], delivered: Sequence[str]) -> dict[str, str]:
    """By name, the delivered column that it is; of several, one that is spelled so, else the first."""
    called = {name.lower(): name for name in names}
    found: dict[str, str] = {}
    for spelled in sorted(delivered, key=lambda spelled: called.get(spelled.lower()) != spelled):
        if spelled.lower() in called:
            found.setdefault(called[spelled.lower()], spelled)
    return found


def _kept(kind: pa.DataType) -> pa.DataType | None:
    """The type that a column of this one is kept in, or none."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(kind):
        return _kept(kind.value_type)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return pa.decimal128(_MONEY_DIGITS, _MONEY_SCALE)
    if types.is_temporal(kind) and not (types.is_time(kind) or types.is_duration(kind)):
        return pa.timestamp("us", "UTC")
    if types.is_boolean(kind):
        return kind
    return pa.string() if types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind) else None


def _required(name: str, given: dict[str, pa.Array], schema: pa.Schema, place: _Place) -> pa.Array:
    """A delivered column, of which every row has a value: without one, money would be taken as nothing.

    Raises:
        InputError: A row has none, or one that cannot be understood.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found = _converted(name, given, schema, place)
    if pa.types.is_dictionary(found.type):  # the currency, of which another spelling would be another one
        found = pc.utf8_upper(pc.utf8_trim_whitespace(found.dictionary)).take(found.indices).dictionary_encode()
        lacking = pc.fill_null(pc.equal(found.dictionary, "").take(found.indices), True)
    else:
        lacking = pc.is_null(found)
    if (index := pc.index(lacking, True).as_py()) >= 0:
        raise InputError(f"{place.row(index)} has no {name}", expected=f"{_EXPECTED[name]} in every row")
    return found


def _converted(name: str, given: dict[str, pa.Array], schema: pa.Schema, place: _Place) -> pa.Array:
    """A delivered column in the type of the table.

    Raises:
        InputError: A value of a column that FOCUS knows cannot be understood.
    """
    import pyarrow as pa
    from pyarrow import types

    kind, column = schema.field(name).type, given[name]
    convert = _decimal if types.is_decimal(kind) else _time if types.is_timestamp(kind) else _plain
    if column.type == kind:
        return column
    if (converted := _tried(convert, column, kind)) is not None:
        return converted
    index = _first_wrong(convert, column, kind)
    problem = f"{place.row(index)}: {name} is {repr(column[index].as_py())[:_MOST_SHOWN]}"
    if name in focus.schema().names:
        raise InputError(problem, expected=_WORDS[convert])
    log.warning("%s; expected %s; the column is left out of these rows", problem, _WORDS[convert])
    return pa.nulls(len(column), kind)


def _tried(convert: Callable[..., Any], column: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """A column converted; none where a value of it cannot be."""
    import pyarrow as pa

    try:
        return convert(column, kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):  # the last for times beyond the year 9999
        return None


def _first_wrong(convert: Callable[..., Any], column: pa.Array, kind: pa.DataType) -> int:
    """The first row whose value cannot be converted, found by halves."""
    first, count = 0, len(column)
    while count > 1:
        half = count // 2
        if _tried(convert, column.slice(first, half), kind) is None:
            count = half
        else:
            first, count = first + half, count - half
    return first


def _plain(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """As text by dictionary, where text is asked for; a map, which is FOCUS's own type for tags, as a JSON object."""
    import pyarrow as pa

    if pa.types.is_map(column.type):
        texts = [None if pairs is None else json.dumps(dict(pairs), ensure_ascii=False) for pairs in column.to_pylist()]
        return pa.array(texts, pa.string()).dictionary_encode()
    if column.type == kind or kind != _text():
        return column.cast(kind)
    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices.cast(pa.int32()), column.dictionary.cast(pa.string()))
    return column.cast(pa.string()).dictionary_encode()


def _decimal(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Doubles by their shortest decimal form: 0.1 is 0.1, not the binary number nearest to it."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    if types.is_floating(column.type):
        values = column.dictionary_encode()  # prices repeat
        plain = pc.if_else(pc.less(pc.abs(values.dictionary), _TINY), 0.0, values.dictionary)
        return _exact(plain.cast(pa.string()), kind).take(values.indices)
    if types.is_string(column.type) or types.is_large_string(column.type):
        return _exact(pc.if_else(pc.equal(column, ""), None, column), kind)
    return column.cast(kind, safe=not types.is_decimal(column.type))


def _exact(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Numbers as text; those of more digits than are kept are rounded, each for itself."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:  # one of them has more digits, or is no number
        wide = texts.cast(pa.decimal256(_WIDE_DIGITS, _WIDE_SCALE))
        return pc.round(wide, kind.scale, "half_to_even").cast(kind)


def _time(column: pa.Array, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa
    from pyarrow import types

    if types.is_string(column.type) or types.is_large_string(column.type):
        return _by_value(column, _moment, pa.timestamp("us", "UTC")).cast(kind)
    return column.cast(kind, safe=False)  # finer than a microsecond is cut off


_WORDS: dict[Callable[..., Any], str] = {
    _decimal: "an amount of at most 20 digits before the point",
    _time: "a time as 2026-11-01T00:00:00Z",
    _plain: "text",
}


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _text() -> pa.DataType:
    import pyarrow as pa

    return pa.dictionary(pa.int32(), pa.string())


def _encoded(column: pa.Field) -> pa.Field:
    import pyarrow as pa

    return column.with_type(_text()) if pa.types.is_string(column.type) else column


def _by_value(column: pa.Array, convert: Callable[[Any], Any], kind: pa.DataType) -> pa.Array:
    """Each value converted, equal ones once."""
    import pyarrow as pa

    values = column.dictionary_encode()
    return pa.array([convert(value) for value in values.dictionary.to_pylist()], kind).take(values.indices)


def _labelled(text: str) -> tuple[str | None, ...]:
    """Tags as a JSON object, and the values of Noria's own; text that is no JSON stays as it is."""
    stripped = text.strip()
    try:
        tags = json.loads(stripped if stripped.startswith("{") else f"{{{stripped}}}")
        names = {str(name).lower(): value for name, value in tags.items()}
        found = (names.get(name) for name in _LABELS)
        whole = stripped if stripped.startswith("{") else json.dumps(tags, ensure_ascii=False)
        columns = (whole, *(None if value in (None, "") else str(value) for value in found))
        "".join(filter(None, columns)).encode()
    except (ValueError, RecursionError):  # no JSON, half a character, or too deep
        return (text, *(None for _ in _LABELS))
    return columns


def _unreadable(part: Part, error: Exception) -> InputError:
    words = str(error).splitlines() or [type(error).__name__]
    return InputError(f"{part.name} is no Parquet file that can be read: {words[0][:200]}")
