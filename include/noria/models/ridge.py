"""Linear models with a searched penalty: ridge regression, logistic regression."""

from __future__ import annotations

from typing import Any

from noria.models.family import Family, Params
from noria.models.problem import Task
from noria.pipeline import Dimension

LOGISTIC_ITERATIONS = 1000


def _estimator(task: Task, params: Params, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    if task == "regression":
        return Ridge(**{"random_state": seed, **params})
    return LogisticRegression(**{"max_iter": LOGISTIC_ITERATIONS, "random_state": seed, **params})


FAMILY = Family(
    "ridge",
    _estimator,
    search={
        "regression": {"alpha": Dimension(low=0.01, high=100, log=True)},
        "classification": {"C": Dimension(low=0.01, high=100, log=True)},
    },
    smooth=True,
)
