"""A model of a problem, unfitted: preparation of the columns and an estimator in one scikit-learn pipeline."""

from __future__ import annotations

from typing import Any

from noria.models.examples import is_text
from noria.models.families import FAMILIES
from noria.models.family import Params
from noria.models.problem import Problem
from noria.pipeline import Column

DUMMY = "dummy"
_MOST_CATEGORIES = 64


def build_model(problem: Problem, kind: str, params: Params, seed: int) -> Any:
    """An unfitted model.

    Args:
        problem: What is to be learned.
        kind: A family, or `dummy`: the mean of the training rows, or their shares of classes.
        params: Hyper-parameters of the estimator.
        seed: Of all that is random in it.
    """
    from sklearn.pipeline import Pipeline

    if kind == DUMMY:
        return Pipeline([("model", _dummy(problem))])
    family = FAMILIES[kind]
    estimator = family.estimator(problem.task, params, seed)
    return Pipeline([("prepare", _preparation(problem, smooth=family.smooth)), ("model", estimator)])


def _dummy(problem: Problem) -> Any:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    return DummyRegressor() if problem.task == "regression" else DummyClassifier(strategy="prior")


def _preparation(problem: Problem, *, smooth: bool) -> Any:
    """Text becomes indicators (all zeros for a value never seen, or none); numbers are imputed and scaled if asked."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    declared = [c for c in problem.features if is_text(c) and c.values is not None]
    free = [c for c in problem.features if is_text(c) and c.values is None]
    numbers = [c.name for c in problem.features if not is_text(c)]
    scaling = Pipeline(
        [("impute", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", StandardScaler())]
    )
    steps: list[tuple[str, Any, list[str]]] = [
        ("declared", _declared_encoder(declared), [c.name for c in declared]),
        ("free", _free_encoder(), [c.name for c in free]),
        ("numbers", scaling if smooth else "passthrough", numbers),
    ]
    return ColumnTransformer([step for step in steps if step[2]])


def _declared_encoder(columns: list[Column]) -> Any:
    import numpy as np
    from sklearn.preprocessing import OneHotEncoder

    categories = [np.array(sorted({str(v) for v in c.values or ()}), dtype=object) for c in columns]
    return OneHotEncoder(categories=categories, handle_unknown="ignore", sparse_output=False)


def _free_encoder() -> Any:
    from sklearn.preprocessing import OneHotEncoder

    return OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=_MOST_CATEGORIES, sparse_output=False)
