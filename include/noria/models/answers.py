"""What a model answers, checked: one answer a row, that depends on the row alone."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noria.errors import InputError
from noria.models.metrics import Predicted, Predictions, predict
from noria.models.problem import Problem
from noria.models.store import load_model

if TYPE_CHECKING:
    import pandas as pd

_SINGLE_ROWS = 20
_TOLERANCE = 1e-6
"""Relative to the largest answer: sums in another order, and single precision, differ by less."""


def load(file: Path, sha256: str) -> Any:
    """A model from its file.

    Raises:
        InputError: The file has other bytes, or cannot be loaded, for whatever reason.
    """
    try:
        return load_model(file, sha256)
    except InputError:
        raise
    except Exception as error:  # an old model can fail in new libraries in any way
        raise InputError(f"the model cannot be loaded: {type(error).__name__}: {error}") from error


def ask(problem: Problem, model: Any, features: pd.DataFrame) -> Predictions:
    """A model's answers for n rows.

    Raises:
        InputError: The model fails, or does not give one answer a row.
    """
    try:
        return predict(problem, _Counted(model), features)
    except InputError:
        raise
    except Exception as error:  # an old or broken model can fail in any way
        raise InputError(f"the model does not predict: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Manner:
    """How a model answers.

    Attributes:
        unsteady: How its answers depend on more than their own row, if they do.
        latency_milliseconds: Median time of an answer for one row.
    """

    unsteady: str | None
    latency_milliseconds: float


def watch(problem: Problem, model: Any, features: pd.DataFrame, answers: Predictions, seed: int) -> Manner:
    """Ask again for the same n rows in another order, and for some of them one by one.

    Args:
        problem: What is predicted.
        model: The model.
        features: The rows.
        answers: What it said of them.
        seed: Of the order.

    Raises:
        InputError: The model fails there.
    """
    said = _numbers(answers)
    order = np.random.default_rng(seed).permutation(len(said))
    moved = _numbers(ask(problem, model, features.iloc[order]))
    some, alone, seconds = order[:_SINGLE_ROWS], [], []
    for i in some:
        row = features.iloc[[i]]
        started = time.perf_counter()
        alone.append(_numbers(ask(problem, model, row)))
        seconds.append(time.perf_counter() - started)
    latency = 1000 * statistics.median(seconds)
    if count := _different(said[order], moved):
        return Manner(f"{count} of {len(said)} predictions change when the same rows come in another order", latency)
    if count := _different(said[some], np.concatenate(alone)):
        return Manner(f"{count} of {len(some)} predictions change when a row comes alone", latency)
    return Manner(None, latency)


def finite(answers: Predictions) -> bool:
    """Whether every answer is a finite number."""
    return bool(np.isfinite(_numbers(answers)).all())


class _Counted:
    """A model that must give one answer a row."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @property
    def classes_(self) -> np.ndarray:
        classes: np.ndarray = self._model.classes_
        return classes

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        said = np.asarray(self._model.predict(features))
        self._check(said, (len(features),))
        return said

    def predict_proba(self, features: pd.DataFrame) -> np.ndarray:
        said = np.asarray(self._model.predict_proba(features))
        self._check(said, (len(features), len(self.classes_)))
        return said

    def _check(self, said: np.ndarray, shape: tuple[int, ...]) -> None:
        if said.shape != shape:
            raise InputError(
                f"the model gives predictions of the shape {_show(said.shape)} for {shape[0]} rows",
                expected=_show(shape),
            )


def _show(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _numbers(answers: Predictions) -> np.ndarray:
    """n rows of numbers."""
    return answers.shares if isinstance(answers, Predicted) else answers.reshape(-1, 1)


def _different(one: np.ndarray, other: np.ndarray) -> int:
    """In how many rows two answers differ by more than rounding; NaN is like NaN."""
    finite_ones = one[np.isfinite(one)]
    scale = float(np.abs(finite_ones).max()) if finite_ones.size else 1.0
    near = np.isclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE * scale, equal_nan=True)
    return int((~near.all(axis=1)).sum())
