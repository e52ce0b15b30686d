"""Metrics against figures worked out by hand or by scikit-learn."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from noria.models.examples import Examples
from noria.models.metrics import evaluate, spread
from noria.models.problem import Problem
from tests.support.learning import classification, pipeline


class Fixed:
    """A model that says what it is told."""

    def __init__(self, said: np.ndarray, classes: list[object] | None = None) -> None:
        self.said, self.classes_ = said, np.array(classes or [])

    def predict(self, _features: pd.DataFrame) -> np.ndarray:
        return self.said

    def predict_proba(self, _features: pd.DataFrame) -> np.ndarray:
        return self.said


def rows(target: np.ndarray) -> Examples:
    return Examples(pd.DataFrame(index=range(len(target))), target, np.zeros((len(target), 16), np.uint8))


def test_regression_by_hand() -> None:
    said = evaluate(Problem.of(pipeline()), Fixed(np.array([1.0, 2.0, 5.0])), rows(np.array([1.0, 3.0, 5.0])))
    assert said == pytest.approx({"r2": 1 - 1 / 8, "mae": 1 / 3, "rmse": math.sqrt(1 / 3), "rae": 1 / 4, "rse": 1 / 8})


def test_a_constant_target_has_no_relative_error() -> None:
    said = evaluate(Problem.of(pipeline()), Fixed(np.array([1.0, 2.0])), rows(np.array([3.0, 3.0])))
    assert math.isnan(said["r2"]) and math.isnan(said["rae"]) and said["mae"] == 1.5


@pytest.mark.parametrize("classes", [[False, True], ["a", "b", "c"]])
def test_classification_agrees_with_scikit_learn(classes: list[object]) -> None:
    rng = np.random.default_rng(3)
    actual = rng.choice(np.array(classes), 200)
    shares = rng.dirichlet(np.ones(len(classes)), 200)
    said = evaluate(Problem.of(classification(), tuple(classes)), Fixed(shares, classes), rows(actual))
    predicted = np.array(classes)[shares.argmax(1)]
    several = len(classes) > 2
    assert said == pytest.approx(
        {
            "accuracy": sk.accuracy_score(actual, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(actual, predicted),
            "f1": sk.f1_score(actual, predicted, average="macro") if several else sk.f1_score(actual, predicted),
            "log_loss": sk.log_loss(actual, shares, labels=classes),
            "roc_auc": sk.roc_auc_score(actual, shares, multi_class="ovr") if several
            else sk.roc_auc_score(actual, shares[:, 1]),
        }
    )  # fmt: skip


def test_a_class_that_the_model_never_saw_has_probability_zero() -> None:
    problem = Problem.of(classification("grade"), ("high", "low", "middle"))
    said = evaluate(
        problem, Fixed(np.array([[0.9, 0.1], [0.2, 0.8]]), ["high", "middle"]), rows(np.array(["high", "low"]))
    )
    assert said["accuracy"] == 0.5
    assert said["log_loss"] == pytest.approx(-(math.log(0.9) + math.log(np.finfo(float).eps)) / 2)


def test_one_class_alone_has_no_roc_auc() -> None:
    problem = Problem.of(classification(), (False, True))
    said = evaluate(problem, Fixed(np.array([[0.9, 0.1]]), [False, True]), rows(np.array([False])))
    assert math.isnan(said["roc_auc"]) and said["accuracy"] == 1


def test_spread_is_mean_and_sample_deviation() -> None:
    result = spread([{"r2": 0.1}, {"r2": 0.2}, {"r2": 0.3}])["r2"]
    assert (result.mean, result.sd) == pytest.approx((0.2, 0.1))
    assert math.isnan(spread([{"r2": 0.1}, {"r2": math.nan}])["r2"].mean)


def test_a_class_that_is_no_more_is_a_wrong_answer_where_it_is_the_likeliest() -> None:
    problem = Problem.of(classification("grade"), ("high", "low"))
    shares = np.array([[0.2, 0.5, 0.3], [0.6, 0.2, 0.2], [0.0, 1.0, 0.0]])
    said = evaluate(problem, Fixed(shares, ["high", "gone", "low"]), rows(np.array(["low", "high", "high"])))
    assert said["accuracy"] == pytest.approx(1 / 3) and said["balanced_accuracy"] == pytest.approx(1 / 4)
    assert said["log_loss"] == pytest.approx(-(math.log(0.6) + math.log(0.75) + math.log(np.finfo(float).eps)) / 3)
    assert said["roc_auc"] == 1.0
