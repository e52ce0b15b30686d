"""Figures and names as people read them; used as filters in the templates."""

from __future__ import annotations

import math
from datetime import UTC, datetime

METRIC_NAMES = {
    "r2": "R²",
    "mae": "Mean absolute error",
    "rmse": "Root mean squared error",
    "rae": "Relative absolute error",
    "rse": "Relative squared error",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "roc_auc": "ROC AUC",
    "f1": "F1",
    "log_loss": "Log loss",
}
SHORT_METRIC_NAMES = {"r2": "R²", "mae": "MAE", "rmse": "RMSE", "rae": "RAE", "rse": "RSE", "roc_auc": "AUC"}
ESTIMATOR_NAMES = {
    "dummy": "No model (dummy)",
    "linear": "Linear",
    "ridge": "Ridge",
    "random_forest": "Random forest",
    "gradient_boosting": "Gradient boosting",
    "xgboost": "XGBoost",
}
EVENT_NAMES = {
    "promoted": "Promoted",
    "kept": "Champion kept",
    "rejected": "Rejected",
    "dry_run": "Dry run",
    "staged": "Waiting for approval",
    "approved": "Approved",
    "declined": "Declined",
    "forced": "Promoted by force",
    "rolled_back": "Rolled back",
}
NOTHING = "–"


def number(value: float | None, digits: int = 4) -> str:
    """A number to significant digits, whole numbers with separators."""
    if value is None:
        return NOTHING
    return _signed(_digits(value, digits))


def _signed(text: str) -> str:
    """The text of a number with a minus sign instead of a hyphen."""
    return f"−{text[1:]}" if text.startswith("-") else text


def _digits(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if abs(value) >= 1e-4 else f"{value:.2g}"


def answer(value: float | None, form: str) -> str:
    """The answer to a question, in the format that the spec asks for."""
    if value is None:
        return NOTHING
    if form == "percent":
        return f"{value:.1%}"
    return f"{round(value):,}" if form == "integer" else number(value)


def metric(value: float | None) -> str:
    """A metric to three places, or to four digits above one."""
    if value is None:
        return NOTHING
    return _signed(f"{value:.3f}") if math.isfinite(value) and abs(value) < 10 else number(value)


def metric_name(name: str) -> str:
    """The name of a metric."""
    return METRIC_NAMES.get(name, name)


def short_metric_name(name: str) -> str:
    """The name of a metric where space is short."""
    return SHORT_METRIC_NAMES.get(name, METRIC_NAMES.get(name, name))


def metric_in_text(name: str) -> str:
    """The name of a metric in a sentence."""
    return SHORT_METRIC_NAMES.get(name) or ("F1" if name == "f1" else METRIC_NAMES.get(name, name).lower())


def event_name(name: str) -> str:
    """What happened, in words."""
    return EVENT_NAMES.get(name, name.replace("_", " "))


def estimator_name(name: str) -> str:
    """The name of a family of estimators."""
    return ESTIMATOR_NAMES.get(name, name.replace("_", " "))


def size(count: float) -> str:
    """Bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def seconds(value: float) -> str:
    """A duration."""
    if value < 60:
        return f"{value:.1f} s"
    minutes = value / 60
    return f"{minutes:.1f} min" if minutes < 60 else f"{minutes / 60:.1f} h"


def moment(value: datetime) -> str:
    """A time in UTC, to the minute."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def signed(value: float) -> str:
    """A difference with its sign, to three significant digits."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    return _signed(f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+.3g}")


def apart(one: float, other: float) -> tuple[str, str]:
    """Two metrics with as many digits as it takes to see which is greater; three places at least."""
    if not (math.isfinite(one) and math.isfinite(other)):
        return _defined(one), _defined(other)
    pairs = ((_signed(f"{one:.{n}f}"), _signed(f"{other:.{n}f}")) for n in range(3, 10))
    return next((pair for pair in pairs if pair[0] != pair[1]), (metric(one), metric(other)))


def _defined(value: float) -> str:
    return metric(value) if math.isfinite(value) else "undefined"
