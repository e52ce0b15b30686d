"""Linear models without a search space: least squares, logistic regression."""

from __future__ import annotations

from typing import Any

from noria.models.family import Family, Params
from noria.models.problem import Task

LOGISTIC_ITERATIONS = 1000


def _estimator(task: Task, params: Params, seed: int) -> Any:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    if task == "regression":
        return LinearRegression(**params)
    return LogisticRegression(**{"max_iter": LOGISTIC_ITERATIONS, "random_state": seed, **params})


FAMILY = Family("linear", _estimator, search={"regression": {}, "classification": {}}, smooth=True)
