"""Linear models with a searched penalty: ridge regression, logistic regression."""

from __future__ import annotations

from typing import Any

from noria.models.family import Family, Params, logistic_regression
from noria.models.problem import Task
from noria.pipeline import Dimension


def _estimator(task: Task, params: Params, seed: int) -> Any:
    from sklearn.linear_model import Ridge

    if task == "regression":
        return Ridge(**{"random_state": seed, **params})
    return logistic_regression(params, seed)


FAMILY = Family(
    "ridge",
    _estimator,
    search={
        "regression": {"alpha": Dimension(low=0.01, high=100, log=True)},
        "classification": {"C": Dimension(low=0.01, high=100, log=True)},
    },
    smooth=True,
)
