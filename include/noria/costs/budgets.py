"""Whether a run may begin: what it will cost and what is spent already, beside what its budget allows.

It is judged by the middle of the estimate. An estimate that is unknown breaks nothing by itself, nor does the part of
one that has no price: the judgement says which bounds could not be judged in full. A day or a month whose bound is
reached already is broken by any run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from noria.costs import focus
from noria.costs.charged import daily_charged, metered_beside
from noria.costs.estimate import Estimate, estimate_run
from noria.costs.held import LOCK, held, hold, release
from noria.costs.money import money
from noria.costs.recent import rows_until_now, today
from noria.costs.sheet import PriceSheet, TotalBudget, load_sheet
from noria.costs.sums import COST, CURRENCY, totals
from noria.costs.table import open_costs
from noria.errors import BudgetError, SpecError
from noria.pipeline import Budget, budget_of
from noria.pipeline.budget import WHEN_EXCEEDED
from noria.records import Record, Run
from noria.settings import Settings
from noria.workspace import Workspace, run_path, to_json

Action = Literal["within", "warn", "approve", "stop"]
BoundKey = Literal["per_run", "per_day", "per_month"]
JUDGEMENT = "budget.json"
"""File of a run."""
_PERIODS: dict[BoundKey, str] = {"per_run": "the run", "per_day": "the day (UTC)", "per_month": "the month (UTC)"}
_COLUMNS = (focus.PIPELINE, focus.DAY, CURRENCY, COST)


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
    held: Decimal = Decimal()
    """What other runs, which are under way, are still going to cost."""
    expected: Decimal
    """In the period, with the run."""

    @property
    def is_broken(self) -> bool:
        """Whether the run would cost more than is left, or nothing is left."""
        return self.expected > self.limit or self.spent + self.held >= self.limit

    @property
    def over(self) -> Decimal:
        """By how much it would be exceeded; what would be left counts as negative."""
        return self.expected - self.limit

    @property
    def is_for_now(self) -> bool:
        """Whether the run would not break it in a day or month in which nothing is spent or held."""
        return self.expected - self.spent - self.held <= self.limit

    @property
    def name(self) -> str:
        """Where it stands."""
        return f"budget.{self.key} of {self.pipeline}" if self.pipeline else f"total.{self.key} of the price sheet"

    def words(self, currency: str) -> str:
        """In one sentence."""
        held = f", {money(self.held, currency)} are held for other runs under way" if self.held else ""
        spent = "" if self.key == "per_run" else f" {money(self.spent, currency)} of it are spent{held}, and"
        more = f", {money(self.over, currency)} more than that" if self.over > 0 else ""
        this = "" if self.key == "per_run" else " with this run"
        would = f"{_PERIODS[self.key]} would cost {money(self.expected, currency)}{this}{more}"
        return f"{self.name} is {money(self.limit, currency)}:{spent} {would}."


class Answer(Record):
    """What a person said of a run that breaks its budget."""

    approved: bool
    by: str
    reason: str
    at: datetime
    outdated: str = ""
    """Of a yes: why it lets nothing begin, where the run was judged otherwise by the time it was given."""


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
    def unjudged(self) -> tuple[BoundUse, ...]:
        """The bounds that the run may break or not: nobody knows, since a part of what it will use has no price."""
        return tuple(bound for bound in self.bounds if self.estimate.unpriced and not bound.is_broken)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Estimate, interval, what is spent, each bound that is broken or cannot be judged in full, in words."""
        broken = (bound.words(self.estimate.currency) for bound in self.broken)
        names = ", ".join(bound.name for bound in self.unjudged)
        unjudged = (f"{names} could not be judged in full, which stops nothing by itself.",) if names else ()
        return (self.estimate.words, *broken, *unjudged, *self.notes)

    @property
    def may_begin(self) -> bool:
        """Whether nothing is in the way, or a person has said yes."""
        answer = self.answer
        return self.action in ("within", "warn") or (answer is not None and answer.approved and not answer.outdated)

    def refusal(self) -> BudgetError:
        """Why the run does not begin, and what to do."""
        who = ""
        if self.answer is not None:
            said = "Approved" if self.answer.approved else "Declined"
            but = f", but {self.answer.outdated}" if self.answer.outdated else ""
            who = f" {said} by {self.answer.by}: {self.answer.reason}{but}."
        period = "month" if any(bound.key == "per_month" for bound in self.broken) else "day"
        again = ", or let it be asked about again" if self.answer and self.answer.outdated else ""
        wait = f"; or wait until the {period} is over" if all(bound.is_for_now for bound in self.broken) else ""
        return BudgetError(
            f"the run breaks its budget. {' '.join(self.sentences)}{who}",
            remedy="No job has run. Raise the bound or make the run smaller (tuning.trials), and start a new one"
            f"{again if self.action == 'approve' else ''}{wait}.",
        )


def judge_run(run: Run, workspace: Workspace) -> Judgement:
    """Judge a run by its own budget, that of its folder now, and that of everything together; and keep that.

    One is judged at a time, and what it will cost is held for it from then on if it may begin.

    Raises:
        SpecError: The price sheet, or the folder's pipeline.yaml, is wrong.
        StorageError: What was spent cannot be read.
        BusyError: Others are being judged all the time.
    """
    return _judged(run, workspace, lambda now: now)


def answer_run(asked: Judgement, answer: Answer, run: Run, workspace: Workspace) -> Judgement:
    """Keep what a person says of a run; a yes is to no more than was asked.

    At a yes the run is judged again. It begins if it is within its budget by then; it does not if it would be stopped
    by then, or would exceed more than was told to whoever said yes.

    Raises:
        NoriaError: As `judge_run`, at a yes.
    """
    if answer.approved:
        return _judged(run, workspace, lambda now: now.model_copy(update={"answer": _held_to(asked, now, answer)}))
    declined = asked.model_copy(update={"answer": answer})
    keep_judgement(declined, run, workspace)
    return declined


def _held_to(asked: Judgement, now: Judgement, answer: Answer) -> Answer:
    """The yes, outdated where it was to less than holds now."""
    outdated = ""
    if now.action == "stop":
        outdated = "by now it is to be stopped"
    elif now.action == "approve" and (more := _exceeded_more(asked, now)):
        outdated = f"more would be exceeded by now than was asked about ({', '.join(more)})"
    return answer.model_copy(update={"outdated": outdated})


def _exceeded_more(asked: Judgement, now: Judgement) -> list[str]:
    """Bounds that are exceeded by more than was told, as amounts are told."""
    told = {(bound.name, asked.estimate.currency): bound.over for bound in asked.broken}
    found = []
    for bound in now.broken:
        before = told.get((bound.name, now.estimate.currency))
        if before is None or (bound.over > before and money(bound.over) != money(before)):
            found.append(bound.name)
    return found


def _judged(run: Run, workspace: Workspace, answered: Callable[[Judgement], Judgement]) -> Judgement:
    """A run's judgement, answered, and kept before another one is judged."""
    sheet = load_sheet(workspace.settings.costs_file)
    name, budget = run.pipeline.name, workspace.budget(run)
    estimate = estimate_run(run, workspace, sheet)
    with workspace.lake.lock(LOCK):
        now, day = workspace.clock(), today(workspace)  # it may have become midnight
        under_way = held(workspace, sheet, run)  # before what is spent: who ends in between counts rather twice
        own, whole = spent(workspace, sheet, (name, None), day)
        bounds = (
            *_uses(name, budget, own, under_way.get(name, Decimal()), estimate),
            *_uses(None, sheet.total, whole, sum(under_way.values(), Decimal()), estimate),
        )
        others = f"Charges in {', '.join(whole.others)} are not counted: the budgets are in {sheet.currency}."
        judgement = answered(
            Judgement(
                action=judge(budget, sheet.total, bounds),
                judged_at=now,
                estimate=estimate,
                bounds=bounds,
                notes=(others,) if whole.others else (),
            )
        )
        keep_judgement(judgement, run, workspace)
    return judgement


def judge(budget: Budget, total: TotalBudget, bounds: tuple[BoundUse, ...]) -> Action:
    """What becomes of a run with these bounds: the strictest of what its own budget and that of everything say."""
    broken = {bound.pipeline is None for bound in bounds if bound.is_broken}
    actions = [(total if is_total else budget).when_exceeded for is_total in broken]
    return max(actions, key=WHEN_EXCEEDED.index) if actions else "within"


def deciding(judgement: Judgement, run: Run, workspace: Workspace) -> Budget:
    """Whom to ask about a run, and how long: as the budgets say that it breaks and that ask; of two what both say.

    Raises:
        SpecError: The price sheet, or the folder's pipeline.yaml, is wrong.
    """
    own = workspace.budget(run)
    total = Budget.model_validate(load_sheet(workspace.settings.costs_file).total.model_dump())
    broken = {bound.pipeline is None for bound in judgement.broken}
    asking = [total if is_total else own for is_total in broken]
    return functools.reduce(budget_of, [budget for budget in asking if budget.when_exceeded == "approve"] or [own])


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


def spent(workspace: Workspace, sheet: PriceSheet, pipelines: Sequence[str | None], day: date) -> list[Spent]:
    """What a day and its month have cost so far, in the sheet's currency: all runs of pipelines; none is everything.

    Raises:
        StorageError: What was spent cannot be read.
    """
    first, now = day.replace(day=1), today(workspace)
    lines = totals(rows_until_now(open_costs(workspace), workspace, sheet, first, _COLUMNS), _COLUMNS[:-1])
    beside = metered_beside(workspace, sheet, first, now)
    found = []
    for name in pipelines:
        own = [line for line in lines if name is None or line[focus.PIPELINE] == name]
        daily = daily_charged([line for line in own if line[CURRENCY] == sheet.currency], beside, name)
        others = {line[CURRENCY] or "an unknown currency" for line in own if line[CURRENCY] != sheet.currency}
        month = sum(daily.values(), Decimal())
        found.append(Spent(day=daily.get(day, Decimal()), month=month, others=tuple(sorted(others))))
    return found


def find_judgement(run: Run, workspace: Workspace) -> Judgement | None:
    """How a run was judged, or none."""
    try:
        return Judgement.model_validate_json(workspace.lake.read(_path(run)))
    except FileNotFoundError:
        return None


def keep_judgement(judgement: Judgement, run: Run, workspace: Workspace) -> str:
    """Keep it beside the run's records, and hold what the run will cost if it may begin; its lake path."""
    workspace.lake.replace(_path(run), to_json(judgement))
    cost = judgement.estimate.cost
    if judgement.may_begin and cost is not None:
        hold(run, cost, judgement.estimate.currency, workspace)
    else:
        release(run, workspace)
    return _path(run)


def _path(run: Run) -> str:
    return run_path(run.pipeline.name, run.run_id, JUDGEMENT)


def _uses(
    name: str | None, budget: Budget | TotalBudget, so_far: Spent, under_way: Decimal, estimate: Estimate
) -> Iterator[BoundUse]:
    periods: tuple[tuple[BoundKey, Decimal, Decimal], ...] = (
        ("per_run", Decimal(), Decimal()),
        ("per_day", so_far.day, under_way),
        ("per_month", so_far.month, under_way),
    )
    for key, before, others in periods:
        if (limit := getattr(budget, key, None)) is not None:
            after = before + others + (estimate.cost or 0)
            bound = Decimal(str(limit))
            yield BoundUse(pipeline=name, key=key, limit=bound, spent=before, held=others, expected=after)
