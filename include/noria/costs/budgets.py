"""Whether a run may begin: what it will cost and what is spent already, beside what its budget allows.

It is judged by the middle of the estimate. An estimate that is unknown breaks nothing by itself; a day or a month whose
bound is reached already is broken by any run.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from noria.costs import focus
from noria.costs.estimate import Estimate, estimate_run
from noria.costs.of_run import money
from noria.costs.recent import rows_until_now, today
from noria.costs.sheet import PriceSheet, TotalBudget, load_sheet
from noria.costs.table import open_costs
from noria.errors import BudgetError, SpecError
from noria.pipeline import Budget
from noria.records import Record, Run
from noria.settings import Settings
from noria.workspace import Workspace, run_path, to_json

Action = Literal["within", "warn", "approve", "stop"]
BoundKey = Literal["per_run", "per_day", "per_month"]
JUDGEMENT = "budget.json"
"""File of a run."""
_PERIODS: dict[BoundKey, str] = {"per_run": "the run", "per_day": "the day (UTC)", "per_month": "the month (UTC)"}
_COLUMNS = (focus.PIPELINE, focus.DAY, "BillingCurrency", "EffectiveCost")


class Spent(Record):
    """What is spent of a day and of its month, estimates of what is not invoiced yet included."""

    day: Decimal = Decimal()
    month: Decimal = Decimal()
    others: tuple[str, ...] = ()
    """Currencies of further charges of the month; they cannot be held against a budget."""


class BoundUse(Record):
    """One bound of a budget, and how it would stand after the run."""

    pipeline: str | None
    """None: everything together."""
    key: BoundKey
    limit: Decimal
    spent: Decimal
    """In the period, before the run."""
    expected: Decimal
    """In the period, with the run."""

    @property
    def is_broken(self) -> bool:
        """Whether the run would cost more than is left, or nothing is left."""
        return self.expected > self.limit or self.spent >= self.limit

    def words(self, currency: str) -> str:
        """In one sentence."""
        where = f"budget.{self.key} of {self.pipeline}" if self.pipeline else f"total.{self.key} of the price sheet"
        spent = "" if self.key == "per_run" else f" {money(self.spent, currency)} of it are spent, and"
        over = self.expected - self.limit
        more = f", {money(over, currency)} more than that" if over > 0 else ""
        would = f"{_PERIODS[self.key]} would cost {money(self.expected, currency)} with this run{more}"
        return f"{where} is {money(self.limit, currency)}:{spent} {would}."


class Answer(Record):
    """What a person said of a run that breaks its budget."""

    approved: bool
    by: str
    reason: str
    at: datetime


class Judgement(Record):
    """Whether a run may begin."""

    action: Action
    judged_at: datetime
    estimate: Estimate
    bounds: tuple[BoundUse, ...]
    notes: tuple[str, ...] = ()
    answer: Answer | None = None

    @property
    def broken(self) -> tuple[BoundUse, ...]:
        """The bounds that the run would break."""
        return tuple(bound for bound in self.bounds if bound.is_broken)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Estimate, interval, what is spent and each bound that is broken, in words."""
        broken = (bound.words(self.estimate.currency) for bound in self.broken)
        return (self.estimate.words, *broken, *self.notes)

    @property
    def may_begin(self) -> bool:
        """Whether nothing is in the way, or a person has said yes."""
        return self.action in ("within", "warn") or (self.answer is not None and self.answer.approved)

    def refusal(self) -> BudgetError:
        """Why the run does not begin, and what to do."""
        who = ""
        if self.answer is not None:
            who = f" Declined by {self.answer.by}: {self.answer.reason}."
        return BudgetError(
            f"the run breaks its budget. {' '.join(self.sentences)}{who}",
            remedy="No job has run. Raise the bound or make the run smaller (tuning.trials), and start a new one; or "
            "wait until the day or month is over.",
        )


def judge_run(run: Run, workspace: Workspace) -> Judgement:
    """Judge a run by its own budget, that of its folder now, and that of everything together.

    Raises:
        SpecError: The price sheet, or the folder's pipeline.yaml, is wrong.
        StorageError: What was spent cannot be read.
    """
    sheet = load_sheet(workspace.settings.costs_file)
    budget, day = workspace.budget(run), today(workspace)
    own, whole = spent(workspace, sheet, run.pipeline.name, day), spent(workspace, sheet, None, day)
    estimate = estimate_run(run, workspace, sheet)
    bounds = (*_uses(run.pipeline.name, budget, own, estimate), *_uses(None, sheet.total, whole, estimate))
    others = f"Charges in {', '.join(whole.others)} are not counted: the budgets are in {sheet.currency}."
    return Judgement(
        action=judge(budget, bounds),
        judged_at=workspace.clock(),
        estimate=estimate,
        bounds=bounds,
        notes=(others,) if whole.others else (),
    )


def judge(budget: Budget, bounds: tuple[BoundUse, ...]) -> Action:
    """What becomes of a run with these bounds. One of everything together only warns."""
    broken = [bound for bound in bounds if bound.is_broken]
    if any(bound.pipeline is not None for bound in broken):
        return budget.when_exceeded
    return "warn" if broken else "within"


def is_bounded(budget: Budget, settings: Settings) -> bool:
    """Whether there is anything to judge a run by: its own budget, or that of everything together.

    A price sheet that is wrong has none: pipelines without a budget of their own run all the same, and `noria doctor`
    says what is wrong.
    """
    if budget.is_bounded:
        return True
    try:
        return load_sheet(settings.costs_file).total.is_bounded
    except SpecError:
        return False


def spent(workspace: Workspace, sheet: PriceSheet, pipeline: str | None, day: date) -> Spent:
    """What a day and its month have cost so far, in the sheet's currency: all runs of a pipeline, or everything.

    Raises:
        StorageError: What was spent cannot be read.
    """
    rows = rows_until_now(open_costs(workspace), workspace, sheet, day.replace(day=1), _COLUMNS)
    per_day, month, others = Decimal(), Decimal(), set()
    keys = [focus.PIPELINE, focus.DAY, "BillingCurrency"]
    for line in rows.group_by(keys).aggregate([("EffectiveCost", "sum")]).to_pylist():
        cost = line["EffectiveCost_sum"] or Decimal()
        if pipeline is not None and line[focus.PIPELINE] != pipeline:
            continue
        if line["BillingCurrency"] != sheet.currency:
            others.add(line["BillingCurrency"] or "an unknown currency")
            continue
        month += cost
        per_day += cost if line[focus.DAY] == day.isoformat() else 0
    return Spent(day=per_day, month=month, others=tuple(sorted(others)))


def find_judgement(run: Run, workspace: Workspace) -> Judgement | None:
    """How a run was judged, or none."""
    try:
        return Judgement.model_validate_json(workspace.lake.read(_path(run)))
    except FileNotFoundError:
        return None


def keep_judgement(judgement: Judgement, run: Run, workspace: Workspace) -> str:
    """Keep it beside the run's records; its lake path."""
    workspace.lake.replace(_path(run), to_json(judgement))
    return _path(run)


def _path(run: Run) -> str:
    return run_path(run.pipeline.name, run.run_id, JUDGEMENT)


def _uses(name: str | None, budget: Budget | TotalBudget, so_far: Spent, estimate: Estimate) -> Iterator[BoundUse]:
    periods: tuple[tuple[BoundKey, Decimal], ...] = (
        ("per_run", Decimal()),
        ("per_day", so_far.day),
        ("per_month", so_far.month),
    )
    for key, before in periods:
        if (limit := getattr(budget, key, None)) is not None:
            after = before + (estimate.cost or 0)
            yield BoundUse(pipeline=name, key=key, limit=Decimal(str(limit)), spent=before, expected=after)
