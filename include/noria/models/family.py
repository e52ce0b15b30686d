"""What a family of estimators offers; each family is one file beside this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from noria.models.problem import Task
from noria.pipeline import Dimension, Scalar

Params = Mapping[str, Scalar | None]
_LOGISTIC_ITERATIONS = 1000
RESERVED = frozenset({"random_state", "n_jobs", "nthread", "seed", "verbose", "verbosity", "warm_start", "device"})


@dataclass(frozen=True)
class Family:
    """A family of estimators.

    Attributes:
        kind: Its name in pipeline.yaml.
        estimator: (task, hyper-parameters, seed) -> unfitted estimator on one thread.
        search: Search space where pipeline.yaml gives none, by task; empty means one trial.
        smooth: Whether numbers must be imputed and scaled first; trees need neither.
    """

    kind: str
    estimator: Callable[[Task, Params, int], Any]
    search: Mapping[Task, Mapping[str, Dimension]]
    smooth: bool = False

    def parameters(self, task: Task) -> frozenset[str]:
        """Names of the hyper-parameters that pipeline.yaml may set."""
        return frozenset(self.estimator(task, {}, 0).get_params()) - RESERVED


def logistic_regression(params: Params, seed: int) -> Any:
    """Logistic regression with enough iterations to settle on scaled columns."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(**{"max_iter": _LOGISTIC_ITERATIONS, "random_state": seed, **params})
