"""One column at a time: text to values of the declared type, and which of them break the column's rules."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from noria.pipeline import Column

ARROW_TYPES: dict[str, pa.DataType] = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "category": pa.string(),
    "string": pa.string(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us", tz="UTC"),
}
_NOUNS = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "category": "an allowed value",
    "date": "a date (YYYY-MM-DD)",
    "datetime": "a date and time (ISO 8601)",
}
_INTEGER = re.compile(r"([+-]?\d+)(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
Fault = tuple[pa.BooleanArray, str]
"""Which rows, and the reason."""


def arrow_field(column: Column) -> pa.Field:
    """The column as it stands in the typed table; unit and description travel as metadata."""
    facts = {"type": column.type, "unit": column.unit, "description": column.description}
    metadata = {key: value for key, value in facts.items() if value is not None}
    return pa.field(column.name, ARROW_TYPES[column.type], nullable=column.nullable, metadata=metadata)


def convert(column: Column, text: pa.StringArray, null_values: Sequence[str] = ()) -> tuple[pa.Array, list[Fault]]:
    """Values of the column's type, null where there is none, and the faults found.

    Args:
        column: The declaration.
        text: What the file says (n values); null where it says null.
        null_values: Texts that mean null with spaces around them as well.
    """
    values = _values(column, text)
    if values.null_count > text.null_count:
        text = _padded_nulls(column, text, values, null_values)
    faults: list[Fault] = []
    if text.null_count and not column.nullable:
        faults.append((pc.is_null(text), "missing"))
    if values.null_count > text.null_count:
        faults.append((pc.and_(pc.is_null(values), pc.is_valid(text)), f"not {_NOUNS[column.type]}"))
    if column.type == "integer" and column.values is not None:
        allowed = pa.array([int(v) for v in column.values], pa.int64())
        _add(
            faults, pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=allowed))), "not an allowed value"
        )
    if column.range is not None:
        low, high = column.range.min, column.range.max
        numbers = values.cast(pa.float64(), safe=False)  # integers above 2**53 are compared by their nearest number
        if low is not None:
            _add(faults, pc.less(numbers, low), f"below {low:g}")
        if high is not None:
            _add(faults, pc.greater(numbers, high), f"above {high:g}")
    return values, faults


def _padded_nulls(column: Column, text: pa.StringArray, values: pa.Array, null_values: Sequence[str]) -> pa.StringArray:
    nulls = pa.array(sorted(set(null_values) - {str(v) for v in column.values or ()}), pa.string())
    padded = pc.and_(pc.is_null(values), pc.is_in(pc.utf8_trim_whitespace(text), value_set=nulls))
    return pc.if_else(padded, pa.scalar(None, pa.string()), text)


def _add(faults: list[Fault], mask: pa.BooleanArray, reason: str) -> None:
    if pc.any(mask).as_py():
        faults.append((pc.fill_null(mask, False), reason))


def _values(column: Column, text: pa.StringArray) -> pa.Array:
    """Fast for whole arrays that fit at once; else each distinct text is looked at."""
    if column.type in ("category", "string"):
        if column.values is None:
            return text
        allowed = [str(v) for v in column.values]
        if pc.index_in(text, value_set=pa.array(allowed, pa.string())).null_count == text.null_count:
            return text
        known = frozenset(allowed)
        return _by_distinct_text(column, text, lambda t: t if t in known else None)
    try:
        values = _CASTS[column.type](text)
    except pa.ArrowInvalid:
        values = None
    if values is None:
        return _by_distinct_text(column, text, _PARSERS[column.type])
    return values


def _by_distinct_text(column: Column, text: pa.StringArray, parse: Callable[[str], Any]) -> pa.Array:
    encoded = text.dictionary_encode()
    parsed = [parse(t.strip()) for t in encoded.dictionary.to_pylist()]
    return pa.array(parsed, ARROW_TYPES[column.type]).take(encoded.indices)


def _cast_integer(text: pa.StringArray) -> pa.Array | None:
    values = text.cast(pa.int64())
    hexadecimal = any(pc.any(pc.match_substring(text, x)).as_py() for x in "xX")  # the cast takes 0x1F for a number
    return None if hexadecimal else values


def _cast_number(text: pa.StringArray) -> pa.Array | None:
    values = text.cast(pa.float64())
    return values if pc.all(pc.is_finite(values)).as_py() in (True, None) else None


def _cast_datetime(text: pa.StringArray) -> pa.Array:
    return pc.assume_timezone(text.cast(pa.timestamp("us")), "UTC")


def _parse_integer(text: str) -> int | None:
    match = _INTEGER.fullmatch(text)
    value = int(match.group(1)) if match and len(text) < 25 else None
    return value if value is not None and -(2**63) <= value < 2**63 else None


def _parse_number(text: str) -> float | None:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def _parse_date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _parse_datetime(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


_CASTS: dict[str, Callable[[pa.StringArray], pa.Array | None]] = {
    "integer": _cast_integer,
    "number": _cast_number,
    "boolean": lambda _text: None,
    "date": lambda text: text.cast(pa.date32()),
    "datetime": _cast_datetime,
}
_PARSERS: dict[str, Callable[[str], Any]] = {
    "integer": _parse_integer,
    "number": _parse_number,
    "boolean": lambda text: _BOOLEANS.get(text.lower()),
    "date": _parse_date,
    "datetime": _parse_datetime,
}
