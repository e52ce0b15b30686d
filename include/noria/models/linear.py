"""Linear models without a search space: least squares, logistic regression."""

from __future__ import annotations

from typing import Any

from noria.models.family import Family, Params, logistic_regression
from noria.models.problem import Task


def _estimator(task: Task, params: Params, seed: int) -> Any:
    from sklearn.linear_model import LinearRegression

    if task == "regression":
        return LinearRegression(**params)
    return logistic_regression(params, seed)


FAMILY = Family("linear", _estimator, search={"regression": {}, "classification": {}}, smooth=True)
