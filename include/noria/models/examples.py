"""The typed table as examples: features, targets and row hashes, split into training and holdout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from noria.errors import InputError
from noria.models.holdout import fingerprint, in_holdout, row_hashes
from noria.models.problem import Label, Problem
from noria.pipeline import Column, Pipeline
from noria.records import HoldoutRule

if TYPE_CHECKING:
    import pandas as pd

_LEAST_TRAINING_ROWS = 10
_LEAST_HOLDOUT_ROWS = 5


@dataclass(frozen=True)
class Examples:
    """Rows to learn from or to judge by.

    Attributes:
        features: n rows; categories and strings as text (NaN where missing), all else as float64.
        target: n values: float64 for regression, labels for classification.
        hashes: n × 16 bytes.
    """

    features: pd.DataFrame
    target: np.ndarray
    hashes: np.ndarray

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: np.ndarray) -> Examples:
        """The rows at these positions (or where this mask is true)."""
        return Examples(
            self.features[rows] if rows.dtype == bool else self.features.iloc[rows],
            self.target[rows],
            self.hashes[rows],
        )


@dataclass(frozen=True)
class Split:
    """Training and holdout rows of one table, with the problem they pose."""

    problem: Problem
    train: Examples
    holdout: Examples

    @property
    def holdout_sha256(self) -> str:
        """Names the set of holdout rows."""
        return fingerprint(self.holdout.hashes)


@dataclass(frozen=True)
class Drawn:
    """A split, and the table's declared columns for the holdout's rows, in the same order."""

    split: Split
    held: pa.Table


def load_split(table: Path, pipeline: Pipeline) -> Split:
    """Read a typed table (Parquet) and split it by row hash.

    Raises:
        InputError: The target is constant, has unusable values, or there are too few rows.
    """
    return draw(table, pipeline).split


def draw(table: Path, pipeline: Pipeline) -> Drawn:
    """Like `load_split`, with all that the table says of the holdout's rows."""
    arrow = pq.read_table(table, columns=[c.name for c in pipeline.columns])
    target = _targets(arrow.column(pipeline.target), pipeline)
    hashes = row_hashes(arrow, pipeline.columns, pipeline.holdout.salt)
    columns = [pipeline.column(name) for name in pipeline.features]
    examples = Examples(frame(arrow, columns), target, hashes)
    held = in_holdout(hashes, pipeline.holdout.share)
    classes: tuple[Label, ...] = ()
    if pipeline.task == "classification":
        classes = tuple(np.unique(target).tolist())
    split = Split(Problem.of(pipeline, classes), examples.take(~held), examples.take(held))
    _check(split, pipeline)
    return Drawn(split, arrow.filter(pa.array(held)))


def hashes_by(rule: HoldoutRule, rows: pa.Table, pipeline: Pipeline) -> np.ndarray:
    """Hashes (n × 16) of rows as another holdout's rule computes them.

    Raises:
        InputError: The table has no such columns any more.
    """
    today = {c.name: c.type for c in pipeline.columns}
    if changed := [name for name, kind in rule.columns.items() if today.get(name) != kind]:
        raise InputError(
            f"the rows that it has not seen were chosen by columns that are gone or of another type now: "
            f"{', '.join(changed)}"
        )
    return row_hashes(rows, [pipeline.column(name) for name in rule.columns], rule.salt)


def frame(table: pa.Table, columns: Sequence[Column]) -> pd.DataFrame:
    """Columns of a typed table as a model takes them."""
    import pandas as pd

    return pd.DataFrame({column.name: _values(table.column(column.name), column) for column in columns})


def as_text(values: pa.ChunkedArray) -> np.ndarray:
    """Values of a column as n texts; `(none)` where there is none."""
    if pa.types.is_boolean(values.type):
        values = pc.if_else(values, "true", "false")
    return np.array(pc.fill_null(values.cast(pa.string()), "(none)").to_pylist(), dtype=np.str_)


def is_text(column: Column) -> bool:
    """Whether a feature is text, which has to be encoded."""
    return column.type in ("category", "string")


def _values(values: pa.ChunkedArray, column: Column) -> object:
    import pandas as pd

    if is_text(column):
        return pd.Series(values.cast(pa.string()).to_numpy(zero_copy_only=False), dtype="str")
    return _floats(values.cast(pa.int8()) if column.type == "boolean" else values)


def _floats(values: pa.ChunkedArray) -> np.ndarray:
    floats: np.ndarray = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return floats


def _targets(values: pa.ChunkedArray, pipeline: Pipeline) -> np.ndarray:
    if pipeline.task == "regression":
        return _floats(values)
    kind = pipeline.column(pipeline.target).type
    labels: np.ndarray = values.to_numpy(zero_copy_only=False)
    return labels.astype({"boolean": bool, "integer": np.int64}.get(kind, np.str_))


def _check(split: Split, pipeline: Pipeline) -> None:
    rows, held, folds = len(split.train), len(split.holdout), pipeline.tuning.folds
    least = max(_LEAST_TRAINING_ROWS, 2 * folds)
    if rows < least or held < _LEAST_HOLDOUT_ROWS:
        raise InputError(
            f"{pipeline.name}: {rows} training rows and {held} holdout rows",
            expected=f"at least {least} and {_LEAST_HOLDOUT_ROWS} (holdout.share is {pipeline.holdout.share:g})",
            remedy="Bring more rows, or change holdout.share or tuning.folds in pipeline.yaml.",
        )
    values = np.unique(split.train.target)
    if len(values) < 2:
        raise InputError(
            f"target {pipeline.target!r} is constant: all {rows} training rows say {values[0]}",
            expected="at least two different values",
            remedy="Check the source, or choose another target in pipeline.yaml.",
        )
    if split.problem.task == "classification":
        _check_classes(split, pipeline)


def _check_classes(split: Split, pipeline: Pipeline) -> None:
    folds = pipeline.tuning.folds
    for label in split.problem.classes:
        count = int(np.sum(split.train.target == label))
        if count < folds:
            raise InputError(
                f"class {label!r} of target {pipeline.target!r} has {count} training rows",
                expected=f"at least {folds}, one for each fold (tuning.folds)",
                remedy="Bring more rows of it, or join rare classes in the source.",
            )
