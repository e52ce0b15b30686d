"""Families of models that take part, and what is searched in each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from noria.pipeline.base import Model, Scalar


class Dimension(Model):
    """One dimension of a search space: a range of numbers, or choices."""

    low: float | None = None
    high: float | None = None
    step: float | None = Field(None, gt=0)
    log: bool = False
    integer: bool = False
    choices: tuple[Scalar | None, ...] | None = None

    @model_validator(mode="after")
    def _range_or_choices(self) -> Dimension:
        if self.choices is not None:
            if self.low is not None or self.high is not None:
                raise ValueError("give either choices or low and high, not both")
            if not self.choices:
                raise ValueError("choices is empty")
            return self
        if self.low is None or self.high is None:
            raise ValueError("a search dimension needs low and high, or choices")
        if self.low > self.high:
            raise ValueError(f"low {self.low} is greater than high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic dimension needs low > 0")
        if self.log and self.step is not None:
            raise ValueError("a dimension is either logarithmic or has a step, not both")
        if self.integer and not all(v is None or v.is_integer() for v in (self.low, self.high, self.step)):
            raise ValueError("an integer dimension needs whole numbers as low, high and step")
        return self


EstimatorKind = Literal["linear", "ridge", "random_forest", "gradient_boosting", "xgboost"]


class EstimatorSpec(Model):
    """A family of models that takes part, with fixed parameters and the space that is searched."""

    kind: EstimatorKind
    params: dict[str, Scalar | None] = Field(default_factory=dict)
    search: dict[str, Dimension] | None = Field(None, description="Default: the family's own search space.")

    @model_validator(mode="after")
    def _fixed_or_searched(self) -> EstimatorSpec:
        both = sorted(set(self.params) & set(self.search or {}))
        if both:
            raise ValueError(f"{both[0]!r} is fixed under params and searched under search; take it out of one")
        return self
