"""XGBoost's classifier for labels of any kind; XGBoost itself knows only the numbers 0, 1, 2 and so on."""

from __future__ import annotations

from typing import Any

import numpy as np
from xgboost import XGBClassifier, XGBRegressor  # noqa: TID253  a class needs its base; imported late by its users

__all__ = ["LabelledXGBClassifier", "XGBRegressor"]


class LabelledXGBClassifier(XGBClassifier):  # type: ignore[misc]
    """An XGBClassifier that predicts the labels it was fitted with."""

    def fit(self, X: Any, y: Any, **options: Any) -> LabelledXGBClassifier:  # noqa: N803  scikit-learn's name
        """Fit on labels of any kind."""
        labels, codes = np.unique(y, return_inverse=True)
        self.__dict__.pop("labels_", None)  # XGBoost holds its codes against `classes_` while it fits
        super().fit(X, codes, **options)
        self.labels_ = labels
        return self

    def predict(self, X: Any, **options: Any) -> Any:  # noqa: N803
        """Labels."""
        return self.labels_[np.asarray(super().predict(X, **options), dtype=np.int64)]

    @property
    def classes_(self) -> Any:
        """Labels in the order of `predict_proba`."""
        return getattr(self, "labels_", super().classes_)
