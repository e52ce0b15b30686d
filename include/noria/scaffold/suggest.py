"""From a table and a target to a suggested spec: task, metrics, gate, expectations.

Every number comes from the file or from statistics of it; nothing is a promise about models nobody has trained yet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from noria.errors import InputError
from noria.pipeline import Gate, Holdout, Slice, normalise_header
from noria.scaffold.columns import ColumnPlan, listed_values, suggest_target
from noria.scaffold.look import Table

Task = Literal["regression", "classification"]
MAX_CLASSES = 20


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

    @property
    def slices(self) -> list[ColumnPlan]:
        """Columns whose every group is large enough in the holdout for the gate to judge it."""
        least = Slice.model_fields["min_rows"].default / Holdout().share
        return [
            c for c in self.columns if c is not self.target and c.is_grouping and min(c.facts.counts.values()) >= least
        ]

    @property
    def holdout_rows(self) -> int:
        """About how many rows the gate will judge by."""
        return round(self.table.rows * Holdout().share)

    @property
    def too_small(self) -> str:
        """What to do where the gate would refuse to judge by so few rows; empty where they are enough."""
        least = Gate().min_rows
        if self.holdout_rows >= least:
            return ""
        return f"the gate asks for {least} holdout rows, and this file gives about {self.holdout_rows}"


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
        chosen.values = [] if chosen.type == "boolean" else listed_values(chosen)
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
