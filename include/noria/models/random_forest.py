"""Random forests."""

from __future__ import annotations

from typing import Any

from noria.models.family import Family, Params
from noria.models.problem import Task
from noria.pipeline import Dimension


def _estimator(task: Task, params: Params, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestRegressor if task == "regression" else RandomForestClassifier
    return kind(**{"n_jobs": 1, "random_state": seed, **params})


_SPACE = {
    "n_estimators": Dimension(low=50, high=200, step=50, integer=True),
    "max_depth": Dimension(low=4, high=14, integer=True),
    "min_samples_leaf": Dimension(low=1, high=10, integer=True),
}
FAMILY = Family("random_forest", _estimator, search={"regression": _SPACE, "classification": _SPACE})
