"""Gradient boosting of XGBoost."""

from __future__ import annotations

from typing import Any

from noria.models.family import Family, Params
from noria.models.problem import Task
from noria.pipeline import Dimension


def _estimator(task: Task, params: Params, seed: int) -> Any:
    from noria.models.labelled import LabelledXGBClassifier, XGBRegressor

    kind = XGBRegressor if task == "regression" else LabelledXGBClassifier
    return kind(**{"n_jobs": 1, "random_state": seed, "tree_method": "hist", **params})


_SPACE = {
    "learning_rate": Dimension(low=0.02, high=0.3, log=True),
    "n_estimators": Dimension(low=50, high=300, step=50, integer=True),
    "max_depth": Dimension(low=2, high=6, integer=True),
    "subsample": Dimension(low=0.6, high=1.0),
}
FAMILY = Family("xgboost", _estimator, search={"regression": _SPACE, "classification": _SPACE})
