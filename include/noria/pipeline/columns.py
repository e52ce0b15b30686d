"""The columns of the typed table."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from noria.pipeline.base import NAME_PATTERN, Model, Scalar

FEATURE_TYPES = ("integer", "number", "boolean", "category", "string")
CLASS_TYPES = ("category", "boolean", "integer", "string")


class Range(Model):
    """Closed interval of allowed values."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is greater than max {self.max}")
        return self


ColumnType = Literal["integer", "number", "boolean", "category", "string", "date", "datetime"]


class Column(Model):
    """One column of the typed table."""

    name: str = Field(pattern=NAME_PATTERN)
    type: ColumnType
    unit: str | None = None
    description: str | None = None
    nullable: bool = False
    values: tuple[Scalar, ...] | None = Field(None, description="Allowed values of a category.")
    range: Range | None = Field(None, description="Allowed range of a number.")
    aliases: tuple[str, ...] = Field((), description="Other headers that mean this column.")

    @field_validator("values", mode="before")
    @classmethod
    def _as_in_the_file(cls, values: Any, info: ValidationInfo) -> Any:
        if info.data.get("type") not in ("category", "string") or not isinstance(values, list | tuple):
            return values
        return [_text(value) for value in values]

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        if self.range is not None and self.type not in ("integer", "number"):
            raise ValueError(f"column {self.name!r} is of type {self.type} and cannot have a range")
        if self.values is not None and self.type not in ("category", "string", "integer"):
            raise ValueError(f"column {self.name!r} is of type {self.type} and cannot have values")
        if self.values is not None:
            self._check_values(self.values)
        return self

    def _check_values(self, values: tuple[Scalar, ...]) -> None:
        if not values:
            raise ValueError(f"column {self.name!r} allows no value at all")
        twice = [v for v, n in Counter(map(str, values)).items() if n > 1]
        if twice:
            raise ValueError(f"column {self.name!r} lists the value {twice[0]!r} twice")
        if self.type == "integer" and not all(type(v) is int for v in values):
            odd = next(v for v in values if type(v) is not int)
            raise ValueError(f"column {self.name!r} is of type integer and lists the value {odd!r}")

    @property
    def is_numeric(self) -> bool:
        """Whether statistics such as the mean make sense."""
        return self.type in ("integer", "number")


def _text(value: Any) -> Any:
    """What the data has where YAML reads a whole number; other readings do not tell how it was written."""
    if type(value) is int:
        return str(value)
    if isinstance(value, int | float):  # among them true, and 007, which the reader marks by a class of its own
        raise ValueError(f"YAML reads {str(value).lower()} as no text; write it in quotes, just as the data has it")
    return value
