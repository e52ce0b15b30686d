"""The typed table as examples."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from noria.errors import InputError
from noria.models.examples import load_split
from tests.support.learning import classification, fields, pipeline, write


def replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    position = table.column_names.index(name)
    return table.set_column(position, name, pa.array(values, table.schema.field(name).type))


def test_nulls_stay_missing_and_booleans_become_numbers(tmp_path: Path) -> None:
    split = load_split(write(fields(200, null_share=0.05), tmp_path / "t.parquet"), pipeline())
    features = split.train.features
    assert {str(t) for n, t in features.dtypes.items() if n not in ("soil", "farmer")} == {"float64"}
    assert set(features["watered"].dropna()) == {0.0, 1.0}
    assert features[["soil", "farmer", "watered", "rain"]].isna().any().all()


@pytest.mark.parametrize(
    ("rows", "changes", "words"),
    [
        (12, {}, ["training rows", "holdout rows", "holdout.share is 0.3"]),
        (200, {"harvest": [5.0] * 200}, ["'harvest' is constant", "5.0"]),
    ],
)
def test_too_little_to_learn_from(tmp_path: Path, rows: int, changes: dict[str, Any], words: list[str]) -> None:
    table = fields(rows)
    for name, values in changes.items():
        table = replaced(table, name, values)
    with pytest.raises(InputError) as caught:
        load_split(write(table, tmp_path / "t.parquet"), pipeline())
    assert all(word in str(caught.value) for word in words)
    assert caught.value.exit_code == 2


def test_a_class_with_too_few_rows_is_named(tmp_path: Path) -> None:
    grades = ["high"] + ["low", "middle"] * 100
    table = replaced(fields(201), "grade", grades)
    with pytest.raises(InputError, match=r"class 'high' of target 'grade' has [01] training rows; expected at least 3"):
        load_split(write(table, tmp_path / "t.parquet"), classification("grade"))


@pytest.mark.parametrize(
    ("target", "classes"), [("good", (False, True)), ("grade", ("high", "low", "middle")), ("hedges", (0, 1, 2, 3, 4))]
)
def test_labels_keep_their_type(tmp_path: Path, target: str, classes: tuple[object, ...]) -> None:
    spec = classification(target, features=["soil", "rain"])
    split = load_split(write(fields(400), tmp_path / "t.parquet"), spec)
    assert split.problem.classes == classes
    assert np.isin(split.holdout.target, classes).all()
