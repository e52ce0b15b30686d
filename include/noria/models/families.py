"""The table of families."""

from __future__ import annotations

from noria.models import gradient_boosting, linear, random_forest, ridge, xgboost
from noria.models.family import Family

FAMILIES: dict[str, Family] = {
    module.FAMILY.kind: module.FAMILY for module in (linear, ridge, random_forest, gradient_boosting, xgboost)
}
