"""From what was seen of a CSV to a suggested spec: names, types, ranges, expectations, questions and the gate.

Every number comes from the file or from statistics of it; nothing is a promise about models nobody has trained yet.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Literal

from noria.errors import InputError
from noria.pipeline import Holdout, normalise_header
from noria.scaffold.look import ColumnFacts, Table

Task = Literal["regression", "classification"]
MAX_LISTED = 20
"""A category with more values than these is declared without listing them."""
MAX_CATEGORIES = 50
MAX_CLASSES = 20
TARGET_NAMES = ("target", "label", "class", "outcome", "response", "y", "sales", "quantity", "price")


@dataclass
class ColumnPlan:
    """One column as it will stand in the spec."""

    facts: ColumnFacts
    name: str
    type: str
    values: list[str | int] = field(default_factory=list)
    low: float | None = None
    high: float | None = None
    left_out: str = ""
    """Why it is no feature; empty if it is one."""

    @property
    def nullable(self) -> bool:
        """Whether the file has empty cells there."""
        return self.facts.nulls > 0

    @property
    def alias(self) -> str:
        """The file's header, where the name alone would not be recognised."""
        return "" if normalise_header(self.facts.header) == self.name else self.facts.header.strip()


@dataclass(frozen=True)
class Check:
    """One expectation with the reason for its numbers."""

    expect: str
    severity: str
    args: dict[str, object]
    why: str


@dataclass(frozen=True)
class Plan:
    """Everything the template needs."""

    table: Table
    columns: tuple[ColumnPlan, ...]
    target: ColumnPlan
    task: Task
    metrics: tuple[str, ...]
    threshold: float
    threshold_why: str
    checks: tuple[Check, ...]
    max_quarantine: float

    @property
    def blanks(self) -> bool:
        """Whether cells of nothing but spaces were seen."""
        return any(c.facts.blanks for c in self.columns)

    @property
    def classes(self) -> list[str | int]:
        """Classes of a classification as they are asked about; none of a regression."""
        return (self.target.values or ["true", "false"]) if self.task == "classification" else []

    @property
    def features(self) -> list[ColumnPlan]:
        """Columns the model sees."""
        return [c for c in self.columns if c is not self.target and not c.left_out]

    @property
    def left_out(self) -> list[ColumnPlan]:
        """Columns the model does not see."""
        return [c for c in self.columns if c is not self.target and c.left_out]


def plan_columns(table: Table) -> tuple[ColumnPlan, ...]:
    """Names and types of all columns, and which of them a model can use."""
    taken: set[str] = set()
    plans = []
    for facts in table.columns:
        name = _name(facts, taken)
        taken.add(name)
        plans.append(_plan_column(facts, name, table.rows))
    return tuple(plans)


def suggest_target(columns: tuple[ColumnPlan, ...]) -> str:
    """The column that is most likely meant: one with a telling name, else the last that can be predicted."""
    usable = [c for c in columns if not c.left_out]
    for word in TARGET_NAMES:
        for column in usable:
            if word in column.name.split("_"):
                return column.name
    return usable[-1].name if usable else columns[-1].name


def make_plan(table: Table, columns: tuple[ColumnPlan, ...], target: str, task: Task | None) -> Plan:
    """The suggested pipeline for a target.

    Raises:
        InputError: There is no such column, or it cannot be predicted, or nothing is left to predict it from.
    """
    chosen = _find(table, columns, target)
    task = task or _infer_task(chosen)
    _check_target(table, chosen, task)
    if task == "classification":
        chosen.type = chosen.type if chosen.type in ("integer", "boolean") else "category"
        chosen.values = [] if chosen.type == "boolean" else _values(chosen)
        chosen.low = chosen.high = None
    metrics, threshold, why = _gate(table, chosen, task)
    plan = Plan(
        table=table,
        columns=columns,
        target=chosen,
        task=task,
        metrics=metrics,
        threshold=threshold,
        threshold_why=why,
        checks=_checks(table, columns, chosen, task),
        max_quarantine=_max_quarantine(table, chosen),
    )
    if not plan.features:
        reasons = "; ".join(f"{c.facts.header}: {c.left_out}" for c in plan.left_out)
        raise InputError(f"{table.path}: no column is left to predict {target!r} from ({reasons})")
    return plan


def _name(facts: ColumnFacts, taken: set[str]) -> str:
    text = unicodedata.normalize("NFKD", facts.header).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    if not name:
        name = f"column_{facts.position + 1}"
    elif not name[0].isalpha():
        name = f"c_{name}"
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique


def _plan_column(facts: ColumnFacts, name: str, rows: int) -> ColumnPlan:
    kind = facts.type
    plan = ColumnPlan(facts, name, {"text": "string", "empty": "string"}.get(kind, kind))
    if kind == "empty":
        plan.left_out = "every cell is empty"
    elif facts.distinct == 1:
        plan.left_out = "the same value in every row"
    elif kind == "text":
        _plan_text(plan, rows)
    elif kind in ("date", "datetime"):
        plan.left_out = "a point in time; the models take numbers and categories"
    elif kind == "integer" and _is_row_number(facts, rows):
        plan.left_out = "numbers the rows"
    if facts.is_numeric and facts.distinct > 1 and not plan.left_out:
        plan.low, plan.high = _range(facts)
    return plan


def _plan_text(plan: ColumnPlan, rows: int) -> None:
    facts = plan.facts
    if facts.distinct <= min(MAX_CATEGORIES, max(rows / 2, 2)):
        plan.type = "category"
        plan.values = _values(plan) if facts.distinct <= MAX_LISTED else []
    elif facts.many or facts.distinct > 0.9 * facts.filled:
        plan.left_out = "nearly every row has a value of its own (a name, an id or free text)"
    else:
        plan.left_out = f"{facts.distinct} different texts, too many for a category"


def _values(plan: ColumnPlan) -> list[str | int]:
    values = sorted(plan.facts.counts)
    return sorted(int(v) for v in values) if plan.type == "integer" else list(values)


def _is_row_number(facts: ColumnFacts, rows: int) -> bool:
    spans_rows = facts.maximum - facts.minimum == rows - 1
    return rows >= 20 and facts.nulls == 0 and spans_rows and (facts.many or facts.distinct == rows)


def _range(facts: ColumnFacts) -> tuple[float, float]:
    """The seen range widened by its own span on both sides, but not below zero if nothing was."""
    span = facts.maximum - facts.minimum
    low = 0.0 if facts.minimum >= 0 else _round(facts.minimum - span, math.floor)
    return low, _round(facts.maximum + span, math.ceil)


def _round(value: float, towards: object) -> float:
    """Two significant digits, outwards."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    steps = math.ceil(value / unit) if towards is math.ceil else math.floor(value / unit)
    return float(f"{steps * unit:.12g}")


def _find(table: Table, columns: tuple[ColumnPlan, ...], target: str) -> ColumnPlan:
    wanted = normalise_header(target)
    for column in columns:
        if wanted in (column.name, normalise_header(column.facts.header)):
            return column
    raise InputError(
        f"{table.path}: no column {target!r}",
        expected=f"one of {', '.join(c.name for c in columns)}",
        remedy=f"For example --target {suggest_target(columns)}.",
    )


def _infer_task(target: ColumnPlan) -> Task:
    two_values = target.facts.distinct == 2
    return "classification" if target.type in ("category", "boolean") or two_values else "regression"


def _check_target(table: Table, target: ColumnPlan, task: Task) -> None:
    where = f"{table.path}: target {target.facts.header!r}"
    if target.facts.distinct < 2:
        raise InputError(f"{where} is constant", expected="at least two different values")
    if task == "regression" and not target.facts.is_numeric:
        raise InputError(
            f"{where} holds {target.type} values", expected="numbers for a regression", remedy="See --task."
        )
    if task == "classification":
        if target.facts.distinct > MAX_CLASSES:
            raise InputError(
                f"{where} has {'over ' if target.facts.many else ''}{target.facts.distinct} different values",
                expected=f"at most {MAX_CLASSES} classes for a classification",
                remedy="Numbers are predicted with --task regression.",
            )
        rare = min(target.facts.counts, key=lambda v: target.facts.counts[v])
        if target.facts.counts[rare] < 10:
            raise InputError(
                f"{where}: class {rare!r} has {target.facts.counts[rare]} rows",
                expected="at least 10 rows of every class, so that training, folds and holdout all see it",
                remedy="Leave rare classes out of the file, or join them under one name.",
            )
    target.left_out = ""


def _gate(table: Table, target: ColumnPlan, task: Task) -> tuple[tuple[str, ...], float, str]:
    """Metrics, and the threshold that a model without any skill does not pass but by luck.

    The standard errors are those of the rank statistic (Mann and Whitney 1947) and of the binomial.
    """
    if task == "regression":
        why = "0 is what always predicting the mean scores"
        return ("r2", "mae", "rmse", "rae", "rse"), 0.0, why
    rows = [n * Holdout().share for n in target.facts.counts.values()]
    if len(rows) == 2:
        error = math.sqrt((sum(rows) + 1) / (12 * rows[0] * rows[1]))
        metrics: tuple[str, ...] = ("roc_auc", "balanced_accuracy", "accuracy", "f1", "log_loss")
        guess = 0.5
    else:
        guess = 1 / len(rows)
        error = math.sqrt(sum(guess * (1 - guess) / n for n in rows)) / len(rows)
        metrics = ("balanced_accuracy", "accuracy", "log_loss")
    threshold = min(math.ceil((guess + 2 * error) * 1000) / 1000, 0.99)
    why = f"guessing scores {guess:.3g}, and with this many rows luck adds up to {threshold - guess:.2g} (2 sd)"
    return metrics, threshold, why


def _checks(table: Table, columns: tuple[ColumnPlan, ...], target: ColumnPlan, task: Task) -> tuple[Check, ...]:
    checks = [
        Check(
            "expect_table_row_count_to_be_between",
            "critical",
            {"min_value": max(table.rows // 2, 1)},
            f"the file had {table.rows} rows; half of them missing is no small change",
        )
    ]
    for column in columns:
        severity = "critical" if column is target else "warning"
        if column.facts.is_numeric and (column is not target or task == "regression"):
            checks += _number_checks(column, severity)
        elif column.values:
            checks.append(_category_check(column, severity))
        if column.nullable and column is not target and column.facts.filled:
            checks.append(_null_check(column, table.rows))
    return tuple(checks)


def _number_checks(column: ColumnPlan, severity: str) -> list[Check]:
    facts = column.facts
    if facts.distinct < 2 or column.left_out:
        return []
    low, high = (float(f"{facts.mean + side * facts.sd:.4g}") for side in (-1, 1))
    mean = Check(
        "expect_column_mean_to_be_between",
        severity,
        {"column": column.name, "min_value": low, "max_value": high},
        f"mean {facts.mean:.4g} plus and minus one standard deviation",
    )
    if severity != "critical":
        return [mean]
    spread = Check(
        "expect_column_stdev_to_be_between",
        severity,
        {"column": column.name, "min_value": float(f"{facts.sd / 4:.3g}")},
        f"a quarter of the {facts.sd:.4g} seen; a target that hardly varies teaches nothing",
    )
    return [mean, spread]


def _category_check(column: ColumnPlan, severity: str) -> Check:
    most = max(column.facts.counts.values()) / column.facts.filled
    seen = column.facts.distinct
    return Check(
        "expect_column_unique_value_count_to_be_between",
        severity,
        {"column": column.name, "min_value": 2 if severity == "critical" else max(seen // 2, 1), "max_value": seen},
        f"{seen} values were seen, the most frequent in {most:.0%} of the rows",
    )


def _null_check(column: ColumnPlan, rows: int) -> Check:
    filled = column.facts.filled / rows
    return Check(
        "expect_column_values_to_not_be_null",
        "warning",
        {"column": column.name, "mostly": math.floor(80 * filled) / 100},
        f"{filled:.1%} were filled; a fifth fewer is worth a look",
    )


def _max_quarantine(table: Table, target: ColumnPlan) -> float:
    """Rows without a target and rows of a wrong shape are quarantined: as many as there are, and 5 points."""
    share = (target.facts.nulls + table.odd_rows) / (table.rows + table.odd_rows)
    return min(math.ceil((share + 0.05) * 100 - 1e-9) / 100, 1.0)
