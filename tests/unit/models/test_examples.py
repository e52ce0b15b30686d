"""The typed table as examples."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from noria.errors import InputError
from noria.models.examples import as_text, draw, hashes_by, load_split
from noria.records import HoldoutRule
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


def test_the_holdouts_rows_keep_their_other_columns(tmp_path: Path) -> None:
    drawn = draw(write(fields(300, null_share=0.1), tmp_path / "t.parquet"), pipeline())
    held = drawn.held
    assert held.num_rows == len(drawn.split.holdout)
    assert np.array_equal(held.column("harvest").to_numpy(), drawn.split.holdout.target)
    assert set(as_text(held.column("watered"))) == {"true", "false", "(none)"}
    assert set(as_text(held.column("soil"))) == {"clay", "loam", "sand", "(none)"}
    assert set(as_text(held.column("hedges"))) == {str(n) for n in held.column("hedges").to_pylist()}


def test_another_rules_hashes_need_its_columns(tmp_path: Path) -> None:
    spec = pipeline()
    drawn, rule = draw(write(fields(100), tmp_path / "t.parquet"), spec), HoldoutRule.of(spec)
    assert np.array_equal(hashes_by(rule, drawn.held, spec), drawn.split.holdout.hashes)
    salted = rule.model_copy(update={"salt": "other"})
    assert not np.array_equal(hashes_by(salted, drawn.held, spec), drawn.split.holdout.hashes)
    changed = rule.model_copy(update={"columns": {**rule.columns, "rain": "integer", "wind": "number"}})
    with pytest.raises(InputError, match="gone or of another type now: rain, wind"):
        hashes_by(changed, drawn.held, spec)
