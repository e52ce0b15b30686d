"""How much each row moves a metric: its empirical influence function.

A metric is a smooth function of means over the rows, so its value on other rows of the same kind differs by about the
mean of the influences of those rows, and its standard error is their standard deviation by the root of their number.
Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 21; DeLong et al. (1988) for the ROC curve.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from noria.models.metrics import Predicted, Predictions, judged, positions
from noria.models.problem import Problem


def influence(problem: Problem, metric: str, target: np.ndarray, predictions: Predictions) -> np.ndarray:
    """Influence of each of n rows on a metric of their predictions, in the metric's unit; the mean of them is 0."""
    if isinstance(predictions, Predicted):
        return _CLASSIFICATION[metric](positions(problem, target), predictions)
    return _REGRESSION[metric](target, predictions)


def standard_error(influences: np.ndarray) -> float:
    """Standard error of a metric with these influences of n rows; infinite for one row."""
    count, scale = len(influences), float(np.abs(influences).max(initial=0)) or 1.0  # squares of large numbers overflow
    return float(scale * np.std(influences / scale, ddof=1) / np.sqrt(count)) if count > 1 else float("inf")


def _centred(values: np.ndarray) -> np.ndarray:
    centred: np.ndarray = values - values.mean()
    return centred


def _mae(actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return _centred(np.abs(actual - predicted))


def _rmse(actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    squares = (actual - predicted) ** 2
    root = np.sqrt(squares.mean())
    return _centred(squares) / (2 * root) if root > 0 else np.zeros(len(actual))


def _rse(actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    squares, spread = (actual - predicted) ** 2, _centred(actual) ** 2
    result: np.ndarray = (squares - squares.mean() / spread.mean() * spread) / spread.mean()
    return result


def _rae(actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    errors, centred = np.abs(actual - predicted), _centred(actual)
    spread, slope = np.abs(centred), np.mean(centred < 0) - np.mean(centred > 0)
    moved = spread - spread.mean() + slope * centred
    result: np.ndarray = (_centred(errors) - errors.mean() / spread.mean() * moved) / spread.mean()
    return result


_REGRESSION: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "r2": lambda actual, predicted: -_rse(actual, predicted),
    "mae": _mae,
    "rmse": _rmse,
    "rae": _rae,
    "rse": _rse,
}


def _accuracy(actual: np.ndarray, predicted: Predicted) -> np.ndarray:
    return _centred((actual == predicted.labels).astype(float))


def _balanced_accuracy(actual: np.ndarray, predicted: Predicted) -> np.ndarray:
    right, result = (actual == predicted.labels).astype(float), np.zeros(len(actual))
    labels = np.unique(actual)
    for label in labels:
        rows = actual == label
        result[rows] = _centred(right[rows]) * len(actual) / rows.sum() / len(labels)
    return result


def _f1(actual: np.ndarray, predicted: Predicted) -> np.ndarray:
    return _mean_of([_f1_of(actual == i, predicted.labels == i) for i in judged(predicted)])


def _f1_of(actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    total = actual.astype(float) + predicted
    if not total.any():
        return np.zeros(len(actual))
    right = 2.0 * (actual & predicted)
    result: np.ndarray = (right - right.mean() / total.mean() * total) / total.mean()
    return result


def _log_loss(actual: np.ndarray, predicted: Predicted) -> np.ndarray:
    return _centred(log_losses(actual, predicted))


def log_losses(actual: np.ndarray, predicted: Predicted) -> np.ndarray:
    """Negative log probability of the actual class of n rows, bounded by the precision of a float."""
    tiny = np.finfo(np.float64).eps
    losses: np.ndarray = -np.log(np.clip(predicted.shares[np.arange(len(actual)), actual], tiny, 1 - tiny))
    return losses


def _roc_auc(actual: np.ndarray, predicted: Predicted) -> np.ndarray:
    sides = [(actual == i, predicted.shares[:, i]) for i in judged(predicted)]
    return _mean_of([_auc_of(side, share) for side, share in sides if side.any() and not side.all()])


def _auc_of(side: np.ndarray, share: np.ndarray) -> np.ndarray:
    placed = placements(side, share)
    centred = placed - np.where(side, placed[side].mean(), placed[~side].mean())
    result: np.ndarray = centred / np.where(side, side.mean(), (~side).mean())
    return result


def placements(side: np.ndarray, share: np.ndarray) -> np.ndarray:
    """For each of n rows, the share of the rows of the other side to which it stands as it should.

    Args:
        side: Whether a row is positive.
        share: Its probability to be.
    """
    result = np.empty(len(side))
    above, below = share[side], share[~side]
    result[side] = _rank(above, np.sort(below))
    result[~side] = 1 - _rank(below, np.sort(above))
    return result


def _rank(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Share of the sorted values that each value is above; equal ones count half."""
    return (np.searchsorted(among, values, "left") + np.searchsorted(among, values, "right")) / (2 * len(among))


def _mean_of(influences: list[np.ndarray]) -> np.ndarray:
    mean: np.ndarray = np.mean(influences, axis=0)
    return mean


_CLASSIFICATION: dict[str, Callable[[np.ndarray, Predicted], np.ndarray]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "roc_auc": _roc_auc,
    "f1": _f1,
    "log_loss": _log_loss,
}
