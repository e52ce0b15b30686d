"""Keys of a pipeline.yaml that are right one by one and wrong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from noria.pipeline.base import Location, normalise_header, repeated
from noria.pipeline.budget import contradictions as in_budget
from noria.pipeline.columns import CLASS_TYPES, FEATURE_TYPES, Column
from noria.pipeline.policy import METRICS
from noria.pipeline.policy import contradictions as in_policy

if TYPE_CHECKING:
    from noria.pipeline.schema import Pipeline


def contradictions(pipeline: Pipeline) -> Iterator[tuple[Location, str]]:
    """Each with the place of the key to change."""
    yield from _repetitions(pipeline)
    yield from _about_columns(pipeline)
    yield from _about_metrics(pipeline)
    yield from _about_slices(pipeline)
    for place, message in in_policy(pipeline.gate, pipeline.metrics):
        yield ("gate", *place), message
    for place, message in in_budget(pipeline.budget):
        yield ("budget", *place), message


def _repetitions(pipeline: Pipeline) -> Iterator[tuple[Location, str]]:
    yield from repeated(("columns",), (c.name for c in pipeline.columns), "name")
    yield from repeated(("features",), pipeline.features)
    yield from repeated(("estimators",), (e.kind for e in pipeline.estimators), "kind")
    yield from repeated(("metrics",), pipeline.metrics)
    headers: dict[str, str] = {}
    for index, column in enumerate(pipeline.columns):
        for header in (column.name, *column.aliases):
            other = headers.setdefault(normalise_header(header), column.name)
            if other != column.name:
                place = ("columns", index, "aliases" if header in column.aliases else "name")
                yield place, f"{header!r} already means the column {other!r}"


def _about_columns(pipeline: Pipeline) -> Iterator[tuple[Location, str]]:
    columns = {c.name: c for c in pipeline.columns}
    listed = ", ".join(columns)
    for index, feature in enumerate(pipeline.features):
        if feature not in columns:
            yield ("features", index), f"{feature!r} is not among the columns ({listed})"
        elif feature == pipeline.target:
            yield ("features", index), f"{feature!r} is the target and cannot be a feature as well"
        elif columns[feature].type not in FEATURE_TYPES:
            yield (
                ("features", index),
                f"{feature!r} is of type {columns[feature].type}; models take {', '.join(FEATURE_TYPES)}",
            )
    for index, expectation in enumerate(pipeline.expectations):
        for name in expectation.columns:
            if name not in columns:
                yield ("expectations", index, "args"), f"{name!r} is not among the columns ({listed})"
    if pipeline.target not in columns:
        yield ("target",), f"{pipeline.target!r} is not among the columns ({listed})"
    else:
        yield from _about_target(pipeline, columns[pipeline.target])


def _about_target(pipeline: Pipeline, target: Column) -> Iterator[tuple[Location, str]]:
    if pipeline.task == "regression" and not target.is_numeric:
        yield ("target",), f"{target.name!r} is of type {target.type}; regression needs integer or number"
    if pipeline.task == "classification" and target.type not in CLASS_TYPES:
        yield ("target",), f"{target.name!r} is of type {target.type}; classification needs {', '.join(CLASS_TYPES)}"
    if target.nullable:
        place = ("columns", pipeline.columns.index(target), "nullable")
        yield place, f"{target.name!r} is the target and cannot be nullable; rows without it are quarantined"


def _about_metrics(pipeline: Pipeline) -> Iterator[tuple[Location, str]]:
    for index, metric in enumerate(pipeline.metrics):
        if METRICS[metric][0] != pipeline.task:
            yield ("metrics", index), f"{metric!r} is for {METRICS[metric][0]}, the task is {pipeline.task}"


def _about_slices(pipeline: Pipeline) -> Iterator[tuple[Location, str]]:
    columns = {c.name: c for c in pipeline.columns}
    for index, declared in enumerate(pipeline.gate.slices):
        place = ("gate", "slices", index, "column")
        if declared.column not in columns:
            yield place, f"{declared.column!r} is not among the columns ({', '.join(columns)})"
        elif declared.column == pipeline.target:
            yield place, f"{declared.column!r} is the target; a slice is chosen by another column"
        elif columns[declared.column].type not in CLASS_TYPES:
            kind = columns[declared.column].type
            yield place, f"{declared.column!r} is of type {kind}; slices need {', '.join(CLASS_TYPES)}"
