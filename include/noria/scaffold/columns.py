"""From what was seen of a column to how it is declared: name, type, values, range, and whether a model can use it."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, field

from noria.pipeline import normalise_header
from noria.scaffold.look import ColumnFacts, Table

MAX_LISTED = 20
"""A category with more values than these is declared without listing them."""
MAX_CATEGORIES = 50
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
    def is_grouping(self) -> bool:
        """Whether its few values divide the rows into groups."""
        return self.type in ("category", "boolean") and not self.facts.many and 2 <= self.facts.distinct <= MAX_LISTED

    @property
    def alias(self) -> str:
        """The file's header, where the name alone would not be recognised."""
        return "" if normalise_header(self.facts.header) == self.name else self.facts.header.strip()


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


def _name(facts: ColumnFacts, taken: set[str]) -> str:
    text = unicodedata.normalize("NFKD", facts.header.casefold()).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", text).strip("_")
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
        plan.values = listed_values(plan) if facts.distinct <= MAX_LISTED else []
    elif facts.many or facts.distinct > 0.9 * facts.filled:
        plan.left_out = "nearly every row has a value of its own (a name, an id or free text)"
    else:
        plan.left_out = f"{facts.distinct} different texts, too many for a category"


def listed_values(plan: ColumnPlan) -> list[str | int]:
    """The values that were seen, in order."""
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
