"""The suite of a pipeline: what its columns imply, and the expectations that it names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from noria.errors import SpecError
from noria.pipeline import Expectation, Pipeline
from noria.validation.library import library

_DATED = ("min_value", "max_value", "value_set")


@dataclass(frozen=True)
class Check:
    """One expectation of the suite.

    Attributes:
        key: Where the spec says it: `expectations[3]`, or `columns`.
        expectation: The object of Great Expectations.
    """

    key: str
    expectation: Any


def build_suite(pipeline: Pipeline) -> list[Check]:
    """All checks of a pipeline, those of its columns first.

    Raises:
        SpecError: An expectation or an argument that there is not; all of them are named.
    """
    implied = [Check("columns", _make("columns", e, pipeline)) for e in _of_columns(pipeline)]
    declared, mistakes = [], []
    for i, expectation in enumerate(pipeline.expectations):
        key = f"expectations[{i}]"
        try:
            declared.append(Check(key, _make(key, expectation, pipeline)))
        except SpecError as error:
            mistakes.append(str(error))
    if mistakes:
        raise SpecError("\n".join(mistakes))
    return implied + declared


def _of_columns(pipeline: Pipeline) -> Iterable[Expectation]:
    """Cheap checks that the table is the declared one; ingest has typed every value and held it against its range."""
    names = [c.name for c in pipeline.columns]
    yield Expectation(expect="expect_table_columns_to_match_ordered_list", args={"column_list": names})
    for column in pipeline.columns:
        if not column.nullable:
            yield Expectation(expect="expect_column_values_to_not_be_null", args={"column": column.name})


def _make(key: str, expectation: Expectation, pipeline: Pipeline) -> Any:
    kind = _class(key, expectation.expect)
    fields = set(kind.__fields__) - {"id", "meta", "severity", "result_format", "catch_exceptions", "rendered_content"}
    for name in expectation.args:
        if name not in fields:
            raise SpecError(f"{key}.args.{name}: {expectation.expect} has no such argument{_close(name, fields)}")
    arguments = _with_dates(expectation.args, pipeline)
    try:
        return kind(**arguments, severity=expectation.severity, meta={"key": key, "name": expectation.expect})
    except (ValueError, TypeError) as error:  # pydantic's ValidationError is a ValueError
        raise SpecError(f"{key}.args: {expectation.expect}: {_explained(error, expectation.args)}") from None


def _class(key: str, name: str) -> Any:
    library()
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    try:
        return get_expectation_impl(name)
    except ExpectationNotFoundError:
        known = list_registered_expectation_implementations()
        raise SpecError(
            f"{key}.expect: Great Expectations has no {name!r}{_close(name, known)}",
            remedy="All of them: https://greatexpectations.io/expectations",
        ) from None


def _with_dates(arguments: Mapping[str, Any], pipeline: Pipeline) -> dict[str, Any]:
    """Limits of a date column as dates: a record keeps them as text."""
    types = {c.name: c.type for c in pipeline.columns}
    if types.get(str(arguments.get("column"))) not in ("date", "datetime"):
        return dict(arguments)
    return {name: _dated(value) if name in _DATED else value for name, value in arguments.items()}


def _dated(value: Any) -> Any:
    if isinstance(value, list):
        return [_dated(v) for v in value]
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001  dates have no zone
    return value


def _explained(error: Exception, arguments: Mapping[str, Any]) -> str:
    """What pydantic says, one line an argument: an argument that may be of several types has an error for each."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    said: dict[str, str] = {}
    for one in errors():
        name = str(one["loc"][0])
        got = f", got {arguments[name]!r}" if name in arguments else ""
        said.setdefault(name, f"{one['msg']}{got}")
    return "; ".join(message if name == "__root__" else f"{name}: {message}" for name, message in said.items())


def _close(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
