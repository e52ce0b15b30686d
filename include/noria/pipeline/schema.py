"""The schema of pipeline.yaml: frozen pydantic models that refuse unknown keys, wrong types and contradictions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from noria.pipeline.alerts import Alerts
from noria.pipeline.base import NAME_PATTERN, ContradictionError, Model
from noria.pipeline.budget import Budget
from noria.pipeline.columns import Column
from noria.pipeline.contradictions import contradictions
from noria.pipeline.estimators import EstimatorSpec
from noria.pipeline.policy import Gate, Metric
from noria.pipeline.source import Source

MAX_NAME = 100
"""Of a pipeline; it is part of file names and of Airflow's ids, which end at 250 characters."""
RESERVED = {
    "costs": "mails about all pipelines together have it",
    "noria": "what the nightly cost export uses itself is metered under it",
}
"""Names that no pipeline can have, and why."""
PRESETS = ("@once", "@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")


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


class Tuning(Model):
    """Budget of the hyper-parameter search."""

    trials: int = Field(24, ge=1, le=10_000, description="Trials over all estimators together.")
    folds: int = Field(3, ge=2, le=20, description="Cross-validation folds of a trial.")
    workers: int = Field(2, ge=1, le=1024, description="Dask worker processes.")
    timeout_seconds: float = Field(900, gt=0, description="No new trial starts after this time.")
    max_vcpu_seconds: float | None = Field(
        None,
        gt=0,
        description="Cores times seconds that the search may hold; then it ends within one trial and keeps the best.",
    )


class Holdout(Model):
    """Rows that only the final evaluation sees, chosen by the hash of the row."""

    share: float = Field(0.3, gt=0, lt=1)
    salt: str = ""


class Evaluation(Model):
    """How figures get their spread."""

    seeds: int = Field(5, ge=2, le=100, description="Seeds over which mean and spread are taken.")
    learning_curve: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.5, 0.7, 0.9)


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
    budget: Budget = Budget()

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

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name in RESERVED:
            raise ValueError(f"{name!r} is reserved: {RESERVED[name]}; give the pipeline another name")
        return name

    @field_validator("schedule")
    @classmethod
    def _cron(cls, schedule: str | None) -> str | None:
        from croniter import croniter

        if schedule is not None and schedule not in PRESETS and not croniter.is_valid(schedule):
            raise ValueError(f"{schedule!r} is no schedule; expected five cron fields or one of {', '.join(PRESETS)}")
        return schedule

    @model_validator(mode="after")
    def _no_contradictions(self) -> Pipeline:
        if found := list(contradictions(self)):
            raise ContradictionError(found)
        return self


def json_schema() -> dict[str, Any]:
    """JSON Schema of pipeline.yaml, for editors."""
    schema = Pipeline.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Noria pipeline", **schema}
