"""Metrics of a prediction. A metric that the rows do not define (one class only, a constant target) is NaN."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from noria.records import Metrics, Spread

if TYPE_CHECKING:
    import pandas as pd

    from noria.models.examples import Examples
    from noria.models.problem import Problem


def evaluate(problem: Problem, model: Any, rows: Examples) -> Metrics:
    """The problem's metrics of a fitted model on rows."""
    if problem.task == "regression":
        predicted = np.asarray(model.predict(rows.features), dtype=np.float64)
        return {name: _REGRESSION[name](rows.target, predicted) for name in problem.metrics}
    shares = probabilities(problem, model, rows.features)
    return {name: _CLASSIFICATION[name](rows.target, shares, problem.classes) for name in problem.metrics}


def probabilities(problem: Problem, model: Any, features: pd.DataFrame) -> np.ndarray:
    """Probability of each class (n × classes, in the problem's order); 0 for a class that the model never saw."""
    known = model.predict_proba(features)
    shares = np.zeros((len(features), len(problem.classes)))
    position = {label: i for i, label in enumerate(problem.classes)}
    for i, label in enumerate(model.classes_.tolist()):
        shares[:, position[label]] = known[:, i]
    return shares


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


def _labels(shares: np.ndarray, classes: Sequence[Any]) -> np.ndarray:
    labels: np.ndarray = np.asarray(classes)[shares.argmax(axis=1)]
    return labels


def _accuracy(actual: np.ndarray, shares: np.ndarray, classes: Sequence[Any]) -> float:
    return float(np.mean(actual == _labels(shares, classes)))


def _balanced_accuracy(actual: np.ndarray, shares: np.ndarray, classes: Sequence[Any]) -> float:
    """Mean recall over the classes that occur."""
    right = actual == _labels(shares, classes)
    return float(np.mean([right[actual == label].mean() for label in np.unique(actual)]))


def _roc_auc(actual: np.ndarray, shares: np.ndarray, classes: Sequence[Any]) -> float:
    """Area under the ROC curve of the positive class; mean of one-against-the-rest where there are more than two."""
    from sklearn.metrics import roc_auc_score

    if len(np.unique(actual)) < 2:
        return math.nan
    positive = range(len(classes)) if len(classes) > 2 else [1]
    sides = [(actual == classes[i], shares[:, i]) for i in positive]
    return float(np.mean([roc_auc_score(side, share) for side, share in sides if side.any()]))


def _f1(actual: np.ndarray, shares: np.ndarray, classes: Sequence[Any]) -> float:
    """F1 of the positive class; the mean over classes where there are more than two."""
    predicted = _labels(shares, classes)
    return float(np.mean([_f1_of(actual == c, predicted == c) for c in (classes if len(classes) > 2 else classes[1:])]))


def _f1_of(actual: np.ndarray, predicted: np.ndarray) -> float:
    total = int(actual.sum() + predicted.sum())
    return 2.0 * int((actual & predicted).sum()) / total if total else 0.0


def _log_loss(actual: np.ndarray, shares: np.ndarray, classes: Sequence[Any]) -> float:
    """Mean negative log probability of the actual class, bounded by the precision of a float."""
    index = np.searchsorted(np.asarray(classes), actual)
    tiny = np.finfo(np.float64).eps
    chosen = np.clip(shares[np.arange(len(actual)), index], tiny, 1 - tiny)
    return float(-np.mean(np.log(chosen)))


_CLASSIFICATION: dict[str, Callable[[np.ndarray, np.ndarray, Sequence[Any]], float]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "roc_auc": _roc_auc,
    "f1": _f1,
    "log_loss": _log_loss,
}
