"""Metrics of a prediction. A metric that the rows do not define (one class only, a constant target) is NaN."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from noria.records import Metrics, Spread

if TYPE_CHECKING:
    import pandas as pd

    from noria.models.examples import Examples
    from noria.models.problem import Problem


@dataclass(frozen=True)
class Predicted:
    """What a classifier says of n rows.

    Attributes:
        shares: Probability of each class (n × classes, in the problem's order).
        labels: n positions among the classes; -1 for a class that is none of them.
    """

    shares: np.ndarray
    labels: np.ndarray


Predictions = np.ndarray | Predicted
"""n values of a regression, or what a classifier says of n rows."""


def evaluate(problem: Problem, model: Any, rows: Examples) -> Metrics:
    """The problem's metrics of a fitted model on rows."""
    return score(problem, rows.target, predict(problem, model, rows.features))


def predict(problem: Problem, model: Any, features: pd.DataFrame) -> Predictions:
    """What a fitted model says of n rows: n values of a regression, or a classifier's labels and probabilities."""
    if problem.task == "regression":
        return np.asarray(model.predict(features), dtype=np.float64)
    return predict_classes(problem, model, features)


def score(problem: Problem, target: np.ndarray, predictions: Predictions) -> Metrics:
    """The problem's metrics of predictions of n rows whose n actual values or labels are `target`."""
    if isinstance(predictions, Predicted):
        actual = positions(problem, target)
        return {name: _CLASSIFICATION[name](actual, predictions) for name in problem.metrics}
    return {name: _REGRESSION[name](target, predictions) for name in problem.metrics}


def positions(problem: Problem, labels: np.ndarray) -> np.ndarray:
    """Positions of n labels among the problem's classes."""
    return np.searchsorted(np.asarray(problem.classes), labels)


def predict_classes(problem: Problem, model: Any, features: pd.DataFrame) -> Predicted:
    """Ask a model for classes of which it may not know all, or know more.

    A class that it never saw has the probability 0. A class that the problem does not have is wrong where it is the
    likeliest; the probabilities of the others are those given that it is not that one.
    """
    said = model.predict_proba(features)
    position = {label: i for i, label in enumerate(problem.classes)}
    places = np.array([position.get(label, -1) for label in model.classes_.tolist()])
    shares = np.zeros((len(features), len(problem.classes)))
    shares[:, places[places >= 0]] = said[:, places >= 0]
    labels = shares.argmax(axis=1)
    if (places < 0).any():
        labels = np.where(said[:, places < 0].max(axis=1) > shares.max(axis=1), -1, labels)
        total = shares.sum(axis=1, keepdims=True)
        shares = np.divide(shares, total, out=shares, where=total > 0)
    return Predicted(shares, labels)


def spread(values: Iterable[Metrics]) -> dict[str, Spread]:
    """Mean and sample standard deviation of each metric over at least one set of metrics."""
    table = list(values)
    return {name: _spread([metrics[name] for metrics in table]) for name in table[0]}


def _spread(values: Sequence[float]) -> Spread:
    if not all(math.isfinite(v) for v in values):
        return Spread(mean=math.nan, sd=math.nan)
    return Spread(mean=statistics.fmean(values), sd=statistics.stdev(values) if len(values) > 1 else 0.0)


def _relative(error: float, scale: float) -> float:
    return error / scale if scale > 0 else math.nan


def _rse(actual: np.ndarray, predicted: np.ndarray) -> float:
    """Relative squared error: the model's squared error by that of the mean of the actual values."""
    return _relative(float(np.sum((actual - predicted) ** 2)), float(np.sum((actual - actual.mean()) ** 2)))


def _rae(actual: np.ndarray, predicted: np.ndarray) -> float:
    """Relative absolute error: the model's absolute error by that of the mean of the actual values."""
    return _relative(float(np.sum(np.abs(actual - predicted))), float(np.sum(np.abs(actual - actual.mean()))))


_REGRESSION: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "r2": lambda actual, predicted: 1.0 - _rse(actual, predicted),
    "mae": lambda actual, predicted: float(np.mean(np.abs(actual - predicted))),
    "rmse": lambda actual, predicted: math.sqrt(float(np.mean((actual - predicted) ** 2))),
    "rae": _rae,
    "rse": _rse,
}


def _accuracy(actual: np.ndarray, predicted: Predicted) -> float:
    return float(np.mean(actual == predicted.labels))


def _balanced_accuracy(actual: np.ndarray, predicted: Predicted) -> float:
    """Mean recall over the classes that occur."""
    right = actual == predicted.labels
    return float(np.mean([right[actual == label].mean() for label in np.unique(actual)]))


def judged(predicted: Predicted) -> range:
    """Positions of the classes that are judged one by one: all of several, the positive one of two."""
    count = predicted.shares.shape[1]
    return range(count) if count > 2 else range(1, count)


def _roc_auc(actual: np.ndarray, predicted: Predicted) -> float:
    """Area under the ROC curve of the positive class; mean of one-against-the-rest where there are more than two."""
    from sklearn.metrics import roc_auc_score

    if len(np.unique(actual)) < 2:
        return math.nan
    sides = [(actual == i, predicted.shares[:, i]) for i in judged(predicted)]
    return float(np.mean([roc_auc_score(side, share) for side, share in sides if side.any()]))


def _f1(actual: np.ndarray, predicted: Predicted) -> float:
    """F1 of the positive class; the mean over classes where there are more than two."""
    return float(np.mean([_f1_of(actual == i, predicted.labels == i) for i in judged(predicted)]))


def _f1_of(actual: np.ndarray, predicted: np.ndarray) -> float:
    total = int(actual.sum() + predicted.sum())
    return 2.0 * int((actual & predicted).sum()) / total if total else 0.0


def _log_loss(actual: np.ndarray, predicted: Predicted) -> float:
    """Mean negative log probability of the actual class, bounded by the precision of a float."""
    tiny = np.finfo(np.float64).eps
    chosen = np.clip(predicted.shares[np.arange(len(actual)), actual], tiny, 1 - tiny)
    return float(-np.mean(np.log(chosen)))


_CLASSIFICATION: dict[str, Callable[[np.ndarray, Predicted], float]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "roc_auc": _roc_auc,
    "f1": _f1,
    "log_loss": _log_loss,
}
