"""What a pipeline is: the schema of pipeline.yaml, and reading one with errors that name file, key and line.

What a stage does with it belongs to the stage; where pipelines are looked for belongs to the settings.
"""

from noria.pipeline.alerts import SEVERITIES, Alerts, AlertSeverity, QuietHours
from noria.pipeline.approving import NO_ONE, approval_of, budget_of
from noria.pipeline.base import NAME_PATTERN, SPEC_FILE, Scalar, normalise_header
from noria.pipeline.budget import Budget
from noria.pipeline.columns import Column, ColumnType, Range
from noria.pipeline.estimators import Dimension, EstimatorKind, EstimatorSpec
from noria.pipeline.policy import (
    METRICS,
    ApprovalPolicy,
    Freshness,
    Gate,
    Level,
    Limit,
    Limits,
    Metric,
    Slice,
    Threshold,
    greater_is_better,
)
from noria.pipeline.reading import find_pipelines, load_model, load_pipeline, load_spec
from noria.pipeline.schema import (
    RESERVED,
    Csv,
    Evaluation,
    Expectation,
    Explore,
    Holdout,
    Pipeline,
    Quarantine,
    Question,
    Severity,
    Tuning,
    json_schema,
)
from noria.pipeline.source import (
    FileSource,
    GithubSource,
    HttpsSource,
    SampleSource,
    Source,
    source_from_uri,
)

__all__ = [
    "METRICS",
    "NAME_PATTERN",
    "NO_ONE",
    "RESERVED",
    "SEVERITIES",
    "SPEC_FILE",
    "AlertSeverity",
    "Alerts",
    "ApprovalPolicy",
    "Budget",
    "Column",
    "ColumnType",
    "Csv",
    "Dimension",
    "EstimatorKind",
    "EstimatorSpec",
    "Evaluation",
    "Expectation",
    "Explore",
    "FileSource",
    "Freshness",
    "Gate",
    "GithubSource",
    "Holdout",
    "HttpsSource",
    "Level",
    "Limit",
    "Limits",
    "Metric",
    "Pipeline",
    "Quarantine",
    "Question",
    "QuietHours",
    "Range",
    "SampleSource",
    "Scalar",
    "Severity",
    "Slice",
    "Source",
    "Threshold",
    "Tuning",
    "approval_of",
    "budget_of",
    "find_pipelines",
    "greater_is_better",
    "json_schema",
    "load_model",
    "load_pipeline",
    "load_spec",
    "normalise_header",
    "source_from_uri",
]
