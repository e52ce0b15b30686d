"""Histogram gradient boosting of scikit-learn."""

from __future__ import annotations

from typing import Any

from noria.models.family import Family, Params
from noria.models.problem import Task
from noria.pipeline import Dimension


def _estimator(task: Task, params: Params, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    return kind(**{"random_state": seed, **params})


_SPACE = {
    "learning_rate": Dimension(low=0.02, high=0.3, log=True),
    "max_iter": Dimension(low=50, high=200, step=50, integer=True),
    "max_leaf_nodes": Dimension(low=4, high=24, integer=True),
}
FAMILY = Family("gradient_boosting", _estimator, search={"regression": _SPACE, "classification": _SPACE})
