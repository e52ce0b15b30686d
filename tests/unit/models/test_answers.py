"""A model gives one answer a row, and the answer depends on the row alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.errors import InputError
from noria.models.answers import ask, finite, load, watch
from noria.models.metrics import Predicted
from tests.support.candidates import classification, regression

ROWS = pd.DataFrame({"x": np.arange(50.0)})


class Model:
    """A regression that answers by a function of the rows."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def predict(self, features: pd.DataFrame) -> Any:
        return self._answer(features["x"].to_numpy())


class Classifier:
    """Two classes, by a function of the rows that gives n × 2 probabilities."""

    classes_ = np.array([False, True])

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def predict_proba(self, features: pd.DataFrame) -> Any:
        return self._answer(features["x"].to_numpy())


def test_an_honest_model_is_heard_as_it_is() -> None:
    model = Model(lambda x: 2 * x + 1)
    said = ask(regression(), model, ROWS)
    assert isinstance(said, np.ndarray) and said.tolist() == (2 * ROWS["x"] + 1).tolist() and finite(said)
    manner = watch(regression(), model, ROWS, said, 1)
    assert manner.unsteady is None and manner.latency_milliseconds > 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: np.arange(len(x), dtype=float), "of 50 predictions change when the same rows come in another order"),
        (lambda x: x - x.mean(), "20 of 20 predictions change when a row comes alone"),
        (lambda x: np.where(np.arange(len(x)) == 0, -1.0, x), "predictions change when the same rows come in another"),
    ],
    ids=["by place", "by the others", "one by place"],
)
def test_answers_by_place_or_by_the_other_rows_are_told(answer: Any, words: str) -> None:
    model = Model(answer)
    manner = watch(regression(), model, ROWS, ask(regression(), model, ROWS), 1)
    assert manner.unsteady is not None and words in manner.unsteady


def test_a_classifier_that_answers_by_place_is_told() -> None:
    def by_place(x: np.ndarray) -> np.ndarray:
        share = np.linspace(0, 1, len(x))
        return np.column_stack([1 - share, share])

    model = Classifier(by_place)
    said = ask(classification(), model, ROWS)
    assert isinstance(said, Predicted)
    assert watch(classification(), model, ROWS, said, 1).unsteady is not None


def test_rounding_is_no_difference() -> None:
    noise = iter(np.random.default_rng(0).normal(0, 1e-12, 1000))
    model = Model(lambda x: 1000 + np.array([value + next(noise) for value in x]))
    assert watch(regression(), model, ROWS, ask(regression(), model, ROWS), 1).unsteady is None


@pytest.mark.parametrize("answer", [lambda x: x[:-1], lambda _x: np.zeros(1), lambda x: np.column_stack([x, x])])
def test_one_answer_a_row(answer: Any) -> None:
    with pytest.raises(InputError, match=r"predictions of the shape .* for 50 rows; expected 50"):
        ask(regression(), Model(answer), ROWS)


def test_one_line_of_probabilities_is_not_taken_for_all() -> None:
    with pytest.raises(InputError, match="the shape 1 × 2 for 50 rows"):
        ask(classification(), Classifier(lambda _x: np.array([[0.5, 0.5]])), ROWS)


def test_a_model_that_fails_is_a_finding() -> None:
    def fail(_x: np.ndarray) -> None:
        raise ZeroDivisionError("no rows")

    with pytest.raises(InputError, match="does not predict: ZeroDivisionError: no rows"):
        ask(regression(), Model(fail), ROWS)


def test_a_file_that_cannot_be_loaded_is_a_finding(tmp_path: Path) -> None:
    file = tmp_path / "model.skops"
    file.write_bytes(b"x")
    with pytest.raises(InputError, match="SHA-256"):
        load(file, "0" * 64)
    with pytest.raises(InputError, match="cannot be"):
        load(file, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881")


def test_what_is_not_finite_is_told() -> None:
    assert not finite(np.array([1.0, np.nan])) and not finite(np.array([np.inf]))
    assert not finite(Predicted(np.array([[0.5, np.nan]]), np.array([0])))
