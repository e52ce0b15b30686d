"""The schema of pipeline.yaml: frozen pydantic models that refuse unknown keys, wrong types and contradictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from noria.pipeline.base import NAME_PATTERN, ContradictionError, Location, Model, Scalar, normalise_header
from noria.pipeline.policy import METRICS, Gate, Metric
from noria.pipeline.source import Source

MAX_NAME = 100
"""Of a pipeline; it is part of file names and of Airflow's ids, which end at 250 characters."""
PRESETS = ("@once", "@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")
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


class Csv(Model):
    """How the source's text is read."""

    delimiter: Annotated[str, StringConstraints(strip_whitespace=False, min_length=1, max_length=1)] = ","
    null_values: tuple[Annotated[str, StringConstraints(strip_whitespace=False)], ...] = (
        "",
        "NA",
        "N/A",
        "NaN",
        "null",
        "NULL",
    )


class Quarantine(Model):
    """What happens to rows that do not fit the columns."""

    max_share: float = Field(0.05, ge=0, le=1, description="The run stops when more than this share is quarantined.")


Severity = Literal["critical", "warning"]


class Expectation(Model):
    """One Great Expectations expectation by its snake-case name, with its arguments."""

    expect: str = Field(pattern=r"^expect_[a-z0-9_]+$")
    severity: Severity = "critical"
    args: dict[str, Any] = Field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the arguments name."""
        single = [self.args[k] for k in ("column", "column_A", "column_B") if k in self.args]
        lists = [self.args[k] for k in ("column_list", "column_set") if isinstance(self.args.get(k), list | tuple)]
        return tuple(str(name) for name in (*single, *(n for names in lists for n in names)))


class Question(Model):
    """A question to the data: one aggregate expression of Spark SQL over the typed table."""

    title: str
    sql: str = Field(min_length=1)
    format: Literal["integer", "number", "percent"] = "number"


class Explore(Model):
    """What the exploration answers beside its profile of every column."""

    questions: tuple[Question, ...] = ()


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


class Tuning(Model):
    """Budget of the hyper-parameter search."""

    trials: int = Field(24, ge=1, le=10_000, description="Trials over all estimators together.")
    folds: int = Field(3, ge=2, le=20, description="Cross-validation folds of a trial.")
    workers: int = Field(2, ge=1, le=1024, description="Dask worker processes.")
    timeout_seconds: float = Field(900, gt=0, description="No new trial starts after this time.")


class Holdout(Model):
    """Rows that only the final evaluation sees, chosen by the hash of the row."""

    share: float = Field(0.3, gt=0, lt=1)
    salt: str = ""


class Evaluation(Model):
    """How figures get their spread."""

    seeds: int = Field(5, ge=2, le=100, description="Seeds over which mean and spread are taken.")
    learning_curve: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.5, 0.7, 0.9)


class Alerts(Model):
    """Who hears of failed runs, failed validation, rejected candidates and new champions."""

    emails: tuple[Annotated[str, Field(pattern=r"^[^@\s,;]+@[^@\s,;]+$")], ...] = ()


class Pipeline(Model):
    """One pipeline.yaml."""

    name: str = Field(pattern=NAME_PATTERN, max_length=MAX_NAME)
    description: str
    owner: str
    schedule: str | None = Field("@daily", description="Cron expression or preset, in UTC; null for manual runs only.")
    alerts: Alerts = Alerts()
    source: Source
    csv: Csv = Csv()
    columns: tuple[Column, ...] = Field(min_length=2)
    quarantine: Quarantine = Quarantine()
    expectations: tuple[Expectation, ...] = ()
    explore: Explore = Explore()
    task: Literal["regression", "classification"]
    target: str
    features: tuple[str, ...] = Field(min_length=1)
    estimators: tuple[EstimatorSpec, ...] = Field(min_length=1)
    metrics: tuple[Metric, ...] = Field(min_length=1, description="The first is the primary metric.")
    seed: int = Field(42, ge=0, lt=2**32)
    tuning: Tuning = Tuning()
    holdout: Holdout = Holdout()
    evaluation: Evaluation = Evaluation()
    gate: Gate = Gate()

    @property
    def primary_metric(self) -> str:
        """The metric that tuning maximises or minimises and the champion is compared by."""
        return self.metrics[0]

    @property
    def connections(self) -> tuple[str, ...]:
        """Airflow connections whose password a run may need."""
        connection = getattr(self.source, "connection", None)
        return (connection,) if connection else ()

    def column(self, name: str) -> Column:
        """The column of that name; raises KeyError if none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @field_validator("schedule")
    @classmethod
    def _cron(cls, schedule: str | None) -> str | None:
        from croniter import croniter

        if schedule is not None and schedule not in PRESETS and not croniter.is_valid(schedule):
            raise ValueError(f"{schedule!r} is no schedule; expected five cron fields or one of {', '.join(PRESETS)}")
        return schedule

    @model_validator(mode="after")
    def _no_contradictions(self) -> Pipeline:
        found = [*self._repetitions(), *self._about_columns(), *self._about_metrics(), *self._about_slices()]
        if found:
            raise ContradictionError(found)
        return self

    def _repetitions(self) -> Iterator[tuple[Location, str]]:
        yield from _repeated(("columns",), (c.name for c in self.columns), "name")
        yield from _repeated(("features",), self.features)
        yield from _repeated(("estimators",), (e.kind for e in self.estimators), "kind")
        yield from _repeated(("metrics",), self.metrics)
        headers: dict[str, str] = {}
        for index, column in enumerate(self.columns):
            for header in (column.name, *column.aliases):
                other = headers.setdefault(normalise_header(header), column.name)
                if other != column.name:
                    place = ("columns", index, "aliases" if header in column.aliases else "name")
                    yield place, f"{header!r} already means the column {other!r}"

    def _about_columns(self) -> Iterator[tuple[Location, str]]:
        columns = {c.name: c for c in self.columns}
        listed = ", ".join(columns)
        for index, feature in enumerate(self.features):
            if feature not in columns:
                yield ("features", index), f"{feature!r} is not among the columns ({listed})"
            elif feature == self.target:
                yield ("features", index), f"{feature!r} is the target and cannot be a feature as well"
            elif columns[feature].type not in FEATURE_TYPES:
                yield (
                    ("features", index),
                    f"{feature!r} is of type {columns[feature].type}; models take {', '.join(FEATURE_TYPES)}",
                )
        for index, expectation in enumerate(self.expectations):
            for name in expectation.columns:
                if name not in columns:
                    yield ("expectations", index, "args"), f"{name!r} is not among the columns ({listed})"
        if self.target not in columns:
            yield ("target",), f"{self.target!r} is not among the columns ({listed})"
        else:
            yield from self._about_target(columns[self.target])

    def _about_target(self, target: Column) -> Iterator[tuple[Location, str]]:
        if self.task == "regression" and not target.is_numeric:
            yield ("target",), f"{target.name!r} is of type {target.type}; regression needs integer or number"
        if self.task == "classification" and target.type not in CLASS_TYPES:
            yield (
                ("target",),
                f"{target.name!r} is of type {target.type}; classification needs {', '.join(CLASS_TYPES)}",
            )
        if target.nullable:
            place = ("columns", self.columns.index(target), "nullable")
            yield place, f"{target.name!r} is the target and cannot be nullable; rows without it are quarantined"

    def _about_metrics(self) -> Iterator[tuple[Location, str]]:
        for index, metric in enumerate(self.metrics):
            if METRICS[metric][0] != self.task:
                yield ("metrics", index), f"{metric!r} is for {METRICS[metric][0]}, the task is {self.task}"
        for index, threshold in enumerate(self.gate.thresholds):
            if threshold.metric not in self.metrics:
                yield (
                    ("gate", "thresholds", index, "metric"),
                    f"{threshold.metric!r} is not among the metrics ({', '.join(self.metrics)})",
                )

    def _about_slices(self) -> Iterator[tuple[Location, str]]:
        columns = {c.name: c for c in self.columns}
        for index, declared in enumerate(self.gate.slices):
            place = ("gate", "slices", index, "column")
            if declared.column not in columns:
                yield place, f"{declared.column!r} is not among the columns ({', '.join(columns)})"
            elif columns[declared.column].type not in CLASS_TYPES:
                kind = columns[declared.column].type
                yield place, f"{declared.column!r} is of type {kind}; slices need {', '.join(CLASS_TYPES)}"
            elif declared.column == self.target:
                yield place, f"{declared.column!r} is the target; a slice is chosen by another column"


def _repeated(place: Location, values: Iterable[str], key: str = "") -> Iterator[tuple[Location, str]]:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield (*place, index, *([key] if key else [])), f"{value!r} stands twice"
        seen.add(value)


def json_schema() -> dict[str, Any]:
    """JSON Schema of pipeline.yaml, for editors."""
    schema = Pipeline.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Noria pipeline", **schema}
