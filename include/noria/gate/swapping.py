"""What the improvement would have been if the two models were one: their answers swapped at random, row by row.

If the models are equally good in every way, as two trainings of the same recipe are, whose answer is whose is a toss of
a coin for each row. So the chance of error is right on any number of rows, however skewed the errors and however few
the rows on which the models differ. (Fisher's randomization test; Good, Permutation, Parametric and Bootstrap Tests,
2005.)
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import numpy as np

from noria.gate.case import Pair
from noria.gate.influence import log_losses, placements
from noria.models.metrics import Predicted, judged, positions

MOST_ROWS = 2000
"""Where the models differ on more rows, swapping tells no more than the bootstrap, and would take long."""


def swapped(pair: Pair, metrics: list[str], draws: int, seed: str) -> dict[str, np.ndarray]:
    """The improvement in each metric where the models' answers are swapped at random.

    Args:
        pair: Both models' predictions; rows in `Pair.ordered`'s order.
        metrics: That are numbers on these rows.
        draws: How many.
        seed: Any text; the same one gives the same draws.

    Returns:
        Metric -> its draws; metrics whose contributions come from too many rows are left out.
    """
    rng = np.random.Generator(np.random.SFC64(int.from_bytes(sha256(f"swap {seed}".encode()).digest()[:16])))
    result = {}
    for metric in metrics:
        parts = contributions(pair, metric)
        telling = parts != 0
        if telling.sum() > MOST_ROWS:
            continue
        signs = rng.integers(0, 2, (draws, int(telling.sum())), dtype=np.int8) * 2.0 - 1
        result[metric] = signs @ parts[telling] / len(pair)
    return result


def contributions(pair: Pair, metric: str) -> np.ndarray:
    """What each of n rows adds to the improvement; the mean of them is the improvement, at least to first order.

    A row's part changes its sign when the models' answers are swapped, and is 0 where they are the same.
    """
    if isinstance(pair.candidate, Predicted) and isinstance(pair.champion, Predicted):
        return _CLASSIFICATION[metric](positions(pair.problem, pair.target), pair.candidate, pair.champion)
    ours, theirs = np.abs(pair.target - pair.candidate), np.abs(pair.target - pair.champion)
    return _REGRESSION[metric](pair.target - pair.target.mean(), ours, theirs)


def _absolute(_target: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    result: np.ndarray = theirs - ours
    return result


def _roots(_target: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    roots = float(np.sqrt(np.mean(ours**2)) + np.sqrt(np.mean(theirs**2)))
    result: np.ndarray = (theirs**2 - ours**2) / (roots or 1.0)
    return result


_REGRESSION: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "r2": lambda target, ours, theirs: (theirs**2 - ours**2) / np.mean(target**2),
    "mae": _absolute,
    "rmse": _roots,
    "rae": lambda target, ours, theirs: (theirs - ours) / np.mean(np.abs(target)),
    "rse": lambda target, ours, theirs: (theirs**2 - ours**2) / np.mean(target**2),
}


def _accuracy(actual: np.ndarray, ours: Predicted, theirs: Predicted) -> np.ndarray:
    result: np.ndarray = (actual == ours.labels).astype(float) - (actual == theirs.labels)
    return result


def _balanced_accuracy(actual: np.ndarray, ours: Predicted, theirs: Predicted) -> np.ndarray:
    _labels, group, counts = np.unique(actual, return_inverse=True, return_counts=True)
    return _accuracy(actual, ours, theirs) * (len(actual) / counts / len(counts))[group]


def _f1(actual: np.ndarray, ours: Predicted, theirs: Predicted) -> np.ndarray:
    parts: np.ndarray = np.mean(
        [_f1_of(actual == i, ours.labels == i, theirs.labels == i) for i in judged(ours)], axis=0
    )
    return parts


def _f1_of(actual: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    claimed, right = ours.astype(float) - theirs, 2.0 * ((actual & ours).astype(float) - (actual & theirs))
    total = float(2 * actual.sum() + ours.sum() + theirs.sum())
    score = 2.0 * float((actual & ours).sum() + (actual & theirs).sum()) / (total or 1.0)
    result: np.ndarray = (right - score * claimed) * 2 * len(actual) / (total or 1.0)
    return result


def _log_loss(actual: np.ndarray, ours: Predicted, theirs: Predicted) -> np.ndarray:
    result: np.ndarray = log_losses(actual, theirs) - log_losses(actual, ours)
    return result


def _roc_auc(actual: np.ndarray, ours: Predicted, theirs: Predicted) -> np.ndarray:
    sides = [(actual == label, label) for label in judged(ours)]
    parts = [_area(side, ours.shares[:, i], theirs.shares[:, i]) for side, i in sides if side.any() and not side.all()]
    mean: np.ndarray = np.mean(parts, axis=0)
    return mean


def _area(side: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Rows of either side tell the whole improvement; half of it is taken off each, so that it is counted once."""
    better = placements(side, ours) - placements(side, theirs)
    parts: np.ndarray = (better - better[side].mean() / 2) / np.where(side, side.mean(), 1 - side.mean())
    return parts


_CLASSIFICATION: dict[str, Callable[[np.ndarray, Predicted, Predicted], np.ndarray]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "roc_auc": _roc_auc,
    "f1": _f1,
    "log_loss": _log_loss,
}
