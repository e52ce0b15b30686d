"""What a pipeline is: the schema of pipeline.yaml.

Frozen pydantic models; unknown keys, wrong types and contradictions are errors that name file, key and line.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from noria.errors import InputError, SpecError

SPEC_FILE = "pipeline.yaml"
Scalar = bool | int | float | str
NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
METRICS: dict[str, tuple[str, bool]] = {
    # metric: (task, greater is better)
    "r2": ("regression", True),
    "mae": ("regression", False),
    "rmse": ("regression", False),
    "rae": ("regression", False),
    "rse": ("regression", False),
    "accuracy": ("classification", True),
    "balanced_accuracy": ("classification", True),
    "roc_auc": ("classification", True),
    "f1": ("classification", True),
    "log_loss": ("classification", False),
}
Metric = Literal["r2", "mae", "rmse", "rae", "rse", "accuracy", "balanced_accuracy", "roc_auc", "f1", "log_loss"]


def greater_is_better(metric: str) -> bool:
    """Whether a larger value of the metric is a better model."""
    return METRICS[metric][1]


class Model(BaseModel):
    """Base of every part of a spec: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, allow_inf_nan=False)


class SampleSource(Model):
    """Noria's own seeded generator; needs no network."""

    kind: Literal["sample"] = "sample"
    generator: Literal["students"] = "students"
    rows: int = Field(1000, ge=1, le=100_000_000)
    seed: int = Field(7, ge=0)

    @property
    def uri(self) -> str:
        """The source as a URI, as `--source` takes it."""
        return f"sample://{self.generator}?rows={self.rows}&seed={self.seed}"


class FileSource(Model):
    """A file on this machine; relative paths start at the working directory."""

    kind: Literal["file"]
    path: str = Field(min_length=1)

    @property
    def uri(self) -> str:
        """The source as a URI, as `--source` takes it."""
        return Path(self.path).expanduser().resolve().as_uri()


class HttpsSource(Model):
    """A file behind a URL. Plain http is accepted for loopback addresses only."""

    kind: Literal["https"]
    url: str = Field(pattern=r"^https?://[^/\s]+/?.*$")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    connection: str | None = Field(None, description="Airflow connection whose password is sent as a bearer token.")

    @model_validator(mode="after")
    def _no_secret_no_plain_http(self) -> HttpsSource:
        parts = urllib.parse.urlsplit(self.url)
        if parts.username or parts.password:
            raise ValueError("the URL carries a user or password; put it in an Airflow connection instead")
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError("plain http is accepted for loopback addresses only; use https")
        return self

    @property
    def uri(self) -> str:
        """The source as a URI, as `--source` takes it."""
        return self.url


class GithubSource(Model):
    """A file in a GitHub repository, fetched raw over https."""

    kind: Literal["github"]
    owner: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    repo: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    path: str = Field(min_length=1)
    ref: str = Field("main", min_length=1)
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    connection: str = Field("github_default", description="Airflow connection whose password is the token, if any.")

    @property
    def uri(self) -> str:
        """The source as a URI, as `--source` takes it."""
        return f"github://{self.owner}/{self.repo}/{self.path}@{self.ref}"


Source = Annotated[SampleSource | FileSource | HttpsSource | GithubSource, Field(discriminator="kind")]


def source_from_uri(uri: str) -> dict[str, Any]:
    """Turn `--source` into the mapping that stands under `source:` in a spec.

    Raises:
        InputError: The URI has an unknown scheme or lacks a part.
    """
    parts = urllib.parse.urlsplit(uri)
    match parts.scheme:
        case "github":
            path, _, ref = (
                parts.path.strip("/").rpartition("@") if "@" in parts.path else (parts.path.strip("/"), "", "")
            )
            repo, _, path = path.partition("/")
            if not (parts.netloc and repo and path):
                raise InputError(f"source {uri!r}", expected="github://owner/repo/path@ref")
            return {"kind": "github", "owner": parts.netloc, "repo": repo, "path": path, "ref": ref or "main"}
        case "https" | "http":
            return {"kind": "https", "url": uri}
        case "file":
            return {"kind": "file", "path": urllib.parse.unquote(parts.path)}
        case "sample":
            query = dict(urllib.parse.parse_qsl(parts.query))
            return {"kind": "sample", "generator": parts.netloc or "students", **query}
        case "":
            return {"kind": "file", "path": uri}
        case _:
            raise InputError(
                f"source {uri!r}",
                expected="github://owner/repo/path@ref, https://…, file:///… or sample://students",
            )


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

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        if self.range is not None and self.type not in ("integer", "number"):
            raise ValueError(f"column {self.name!r} is of type {self.type} and cannot have a range")
        if self.values is not None and self.type not in ("category", "string", "integer"):
            raise ValueError(f"column {self.name!r} is of type {self.type} and cannot have values")
        if self.values is not None and not self.values:
            raise ValueError(f"column {self.name!r} allows no value at all")
        return self

    @property
    def is_numeric(self) -> bool:
        """Whether statistics such as the mean make sense."""
        return self.type in ("integer", "number")


class Csv(Model):
    """How the source's text is read."""

    delimiter: str = Field(",", min_length=1, max_length=1)
    null_values: tuple[str, ...] = ("", "NA", "N/A", "NaN", "null", "NULL")


class Quarantine(Model):
    """What happens to rows that do not fit the columns."""

    max_share: float = Field(0.05, ge=0, le=1, description="The run stops when more than this share is quarantined.")


Severity = Literal["critical", "warning"]


class Expectation(Model):
    """One Great Expectations expectation by its snake-case name, with its arguments."""

    expect: str = Field(pattern=r"^expect_[a-z0-9_]+$")
    severity: Severity = "critical"
    args: dict[str, Any] = Field(default_factory=dict)


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
        return self


EstimatorKind = Literal["linear", "ridge", "random_forest", "gradient_boosting", "xgboost"]


class EstimatorSpec(Model):
    """A family of models that takes part, with fixed parameters and the space that is searched."""

    kind: EstimatorKind
    params: dict[str, Scalar | None] = Field(default_factory=dict)
    search: dict[str, Dimension] | None = Field(None, description="Default: the family's own search space.")


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


class Threshold(Model):
    """An absolute bound on a metric of the holdout."""

    metric: Metric
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Threshold:
        if (self.min is None) == (self.max is None):
            raise ValueError("a threshold needs either min or max")
        return self


class Gate(Model):
    """Policy of the promotion gate."""

    mode: Literal["enforce", "dry_run"] = "enforce"
    thresholds: tuple[Threshold, ...] = ()
    margin: float = Field(0.0, ge=0, description="The candidate must beat the champion's primary metric by more.")


class Alerts(Model):
    """Who hears of failed runs, failed validation, rejected candidates and new champions."""

    emails: tuple[Annotated[str, Field(pattern=r"^[^@\s,;]+@[^@\s,;]+$")], ...] = ()


class Pipeline(Model):
    """One pipeline.yaml."""

    name: str = Field(pattern=NAME_PATTERN)
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

    @model_validator(mode="after")
    def _no_contradictions(self) -> Pipeline:
        names = [c.name for c in self.columns]
        _unique("columns", names)
        _unique("features", self.features)
        _unique("estimators", [e.kind for e in self.estimators])
        _unique("metrics", self.metrics)
        _unique(
            "headers and aliases",
            [h for c in self.columns for h in {normalise_header(x) for x in (c.name, *c.aliases)}],
        )
        if self.target not in names:
            raise ValueError(f"target {self.target!r} is not among the columns ({', '.join(names)})")
        for feature in self.features:
            if feature not in names:
                raise ValueError(f"features: {feature!r} is not among the columns ({', '.join(names)})")
        if self.target in self.features:
            raise ValueError(f"features: {self.target!r} is the target and cannot be a feature as well")
        if self.task == "regression" and not self.column(self.target).is_numeric:
            raise ValueError(
                f"target {self.target!r} is of type {self.column(self.target).type}; regression needs a number"
            )
        for metric in (*self.metrics, *(t.metric for t in self.gate.thresholds)):
            if METRICS[metric][0] != self.task:
                raise ValueError(f"metrics: {metric!r} is for {METRICS[metric][0]}, the task is {self.task}")
        for threshold in self.gate.thresholds:
            if threshold.metric not in self.metrics:
                raise ValueError(f"gate.thresholds: {threshold.metric!r} is not among the metrics {list(self.metrics)}")
        return self


def _unique(what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{what}: {value!r} stands twice")
        seen.add(value)


def normalise_header(header: str) -> str:
    """Form in which headers and aliases are compared: no BOM, quotes or outer space, lower case, joined by `_`."""
    text = header.replace("\ufeff", "").strip().strip("\"'").strip().lower()
    return re.sub(r"[^0-9a-zа-я\u00c0-\uffff]+", "_", text).strip("_")


def find_pipelines(folders: Sequence[Path]) -> dict[str, Path]:
    """Folders that hold a pipeline.yaml, by folder name; the first one of a name wins."""
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            for spec in sorted(folder.glob(f"*/{SPEC_FILE}")):
                found.setdefault(spec.parent.name, spec.parent)
    return found


def load_pipeline(
    name: str, folders: Sequence[Path], overrides: Mapping[str, str] | None = None, source: str | None = None
) -> Pipeline:
    """Read a pipeline by name, with `--set` overrides (dotted key to YAML text) and a `--source` URI applied.

    Raises:
        SpecError: No such pipeline, or its file is wrong.
        InputError: An override or the source is wrong.
    """
    found = find_pipelines(folders)
    if name not in found:
        raise SpecError(
            f"no pipeline {name!r}",
            expected=f"one of: {', '.join(sorted(found)) or 'none found'}",
            remedy=f"Looked in {', '.join(str(f) for f in folders)}; add folders with NORIA_PIPELINES.",
        )
    return load_spec(found[name] / SPEC_FILE, overrides, source)


def load_spec(path: Path, overrides: Mapping[str, str] | None = None, source: str | None = None) -> Pipeline:
    """Read one pipeline.yaml; see `load_pipeline`."""
    document = _read_yaml(path)
    if source is not None:
        document["source"] = source_from_uri(source)
    for key, text in (overrides or {}).items():
        _set(document, key, text)
    try:
        pipeline = Pipeline.model_validate(document)
    except ValidationError as error:
        changed = set(overrides or {}) | ({"source"} if source is not None else set())
        raise SpecError("\n".join(_explain(e, document, path, changed) for e in error.errors())) from None
    if pipeline.name != path.parent.name:
        raise SpecError(
            f"{path}:{_line(document, ('name',))}: name: {pipeline.name!r}",
            expected=f"the folder's name {path.parent.name!r}",
        )
    return pipeline


def _read_yaml(path: Path) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise SpecError(f"{where}: not valid YAML: {error.problem}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: not valid YAML: {error}") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    if not isinstance(document, dict):
        raise SpecError(f"{path}:1: not a mapping", expected="keys such as name, source, columns, target")
    return document


def _set(document: Any, dotted: str, text: str) -> None:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        value = text
    *parents, last = dotted.split(".")
    node = document
    for part in parents:
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict):
            node = node.setdefault(part, {})
        else:
            raise InputError(f"--set {dotted}={text}", expected=f"a key below {part!r} in the spec")
    if isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise InputError(f"--set {dotted}={text}", expected="the dotted key of a value in the spec")


def _line(document: Any, location: Sequence[str | int]) -> int:
    """Line of the deepest key of `location` that the file has."""
    line = 1
    node: Any = document
    for part in location:
        try:
            if isinstance(node, dict) and part in node:
                line = _marks(node).key(part)[0] + 1
            elif isinstance(node, list) and isinstance(part, int) and part < len(node):
                line = _marks(node).item(part)[0] + 1
            else:
                continue  # pydantic puts the discriminator's value in between
            node = node[part]
        except (AttributeError, KeyError, TypeError):
            break
    return line


def _marks(node: Any) -> Any:
    """Line marks that the YAML reader leaves on mappings and lists."""
    return node.lc


def _explain(error: Any, document: Any, path: Path, changed: set[str]) -> str:
    location = [p for i, p in enumerate(error["loc"]) if not (i == 1 and error["loc"][0] == "source")]
    key = ".".join(str(part) for part in location)
    message = error["msg"].removeprefix("Value error, ")
    if not key:  # a contradiction between keys: point at the key it starts with
        head = re.match(r"([a-z_.]+)[: ]", message)
        location = head.group(1).split(".") if head else []
        key = ".".join(str(p) for p in location if p in document) if location else ""
    if error["type"] == "extra_forbidden":
        message = f"unknown key{_suggestion(location)}"
    elif error["type"] not in ("missing", "value_error"):
        message = f"{message}, got {error['input']!r}"
    if any(key == c or key.startswith(f"{c}.") for c in changed):
        return f"{key}: {message} (given on the command line or in the trigger form)"
    return f"{path}:{_line(document, location)}: {key + ': ' if key else ''}{message}"


def _suggestion(location: Sequence[str | int]) -> str:
    import difflib

    names = {n for m in _models(Pipeline) for n in m.model_fields}
    close = difflib.get_close_matches(str(location[-1]), names, n=1) if location else []
    return f"; did you mean {close[0]!r}?" if close else ""


def _models(model: type[Model]) -> set[type[Model]]:
    return {*Model.__subclasses__(), model}
