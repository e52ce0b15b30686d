"""Pipelines for tests, as variations of the one that is shipped."""

from __future__ import annotations

from typing import Any

from noria.pipeline import Pipeline, load_spec
from noria.settings import CHECKOUT


def students(**changes: Any) -> Pipeline:
    """The students pipeline with some top-level keys changed."""
    spec = load_spec(CHECKOUT / "include" / "pipelines" / "students" / "pipeline.yaml")
    return Pipeline.model_validate({**spec.model_dump(mode="json"), **changes})


def expecting(*expectations: dict[str, Any]) -> Pipeline:
    """The students pipeline with other expectations."""
    return students(expectations=list(expectations))
