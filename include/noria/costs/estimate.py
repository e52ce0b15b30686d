"""What a run will cost, before it begins: from what the newest runs of its pipeline did cost that ended well.

Costs of runs are never negative and seldom far below the usual, so they are taken for log-normal: the estimate is their
geometric mean, and the interval is one for a further run (Student's t on the logarithms). The search is most of a run
and is given a number of trials, so what a past run's training did cost is taken by the trials and folds of this one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from statistics import fmean, stdev

from noria.costs import focus
from noria.costs.forecast import quantile
from noria.costs.of_run import money
from noria.costs.recent import rows_until_now, today
from noria.costs.runs import RunCost, run_costs
from noria.costs.sheet import PriceSheet
from noria.costs.table import open_metered
from noria.errors import NoriaError
from noria.pipeline import Tuning
from noria.records import Record, Run
from noria.workspace import Workspace

LEAST_RUNS = 3
"""With fewer an estimate is a guess."""
_MOST_RUNS, _DAYS = 20, 90
_GUESS = 2
"""How many times more or less a run may cost than one or two others."""
_COLUMNS = (
    focus.PIPELINE,
    focus.RUN,
    focus.STAGE,
    focus.DAY,
    focus.OUTCOME,
    focus.VCPU_SECONDS,
    focus.CPU_SECONDS,
    "BillingCurrency",
    "EffectiveCost",
)


class Estimate(Record):
    """What a run will cost."""

    currency: str
    cost: Decimal | None = None
    """None: there is no run like it to tell from."""
    low: Decimal | None = None
    high: Decimal | None = None
    """It will cost less than `low` in one of ten cases, and more than `high` in one of ten."""
    runs: int = 0
    """Runs that it is from."""
    is_scaled: bool = False
    """Whether some of them searched more or less than this one will."""

    @property
    def words(self) -> str:
        """All of it in one sentence."""
        if self.cost is None or self.low is None or self.high is None:
            return "What this run will cost is unknown: no run of this pipeline has ended well in the last 90 days."
        between = f"{money(self.low, self.currency)} to {money(self.high, self.currency)}"
        scaled = ", by the trials of its search" if self.is_scaled else ""
        runs = "run" if self.runs == 1 else "runs"
        said = f"This run will cost about {money(self.cost, self.currency)} ({between} in 8 of 10 cases)"
        if self.runs < LEAST_RUNS:
            return f"{said}; that is uncertain, since it is from {self.runs} {runs} only{scaled}."
        return f"{said}, as the last {self.runs} {runs} tell{scaled}."


def estimate_run(run: Run, workspace: Workspace, sheet: PriceSheet) -> Estimate:
    """What a run will cost, from the runs of its pipeline in the last 90 days, the newest 20 that ended well.

    Raises:
        StorageError: What was metered cannot be read.
    """
    since = today(workspace) - timedelta(days=_DAYS)
    rows = rows_until_now(open_metered(workspace), workspace, sheet, since, _COLUMNS)
    like = [past for past in run_costs(rows) if _is_like(past, run, sheet)][-_MOST_RUNS:]
    scales = [_scale(past, run, workspace) for past in like]
    costs = [past.cost + past.by_stage.get("train", Decimal()) * (s - 1) for past, s in zip(like, scales, strict=True)]
    return _from(costs, sheet.currency, is_scaled=any(scale != 1 for scale in scales))


def _is_like(past: RunCost, run: Run, sheet: PriceSheet) -> bool:
    """A run of the pipeline that reached its verdict; one that is under way, or was cut off, cost only part of it."""
    is_other = past.pipeline == run.pipeline.name and past.run_id != run.run_id
    return is_other and past.currency == sheet.currency and past.outcome == "done" and "promote" in past.by_stage


def _scale(past: RunCost, run: Run, workspace: Workspace) -> Decimal:
    """How many times as much this run will search as that one did; 1 where that is not known."""
    try:
        tuning = workspace.load_run(past.pipeline, past.run_id).pipeline.tuning
    except (NoriaError, ValueError):
        return Decimal(1)
    return Decimal(_size(run.pipeline.tuning)) / _size(tuning)


def _size(tuning: Tuning) -> int:
    return tuning.trials * tuning.folds


def _from(costs: Sequence[Decimal], currency: str, *, is_scaled: bool) -> Estimate:
    if not costs:
        return Estimate(currency=currency)
    middle, low, high = _spread([float(cost) for cost in costs])
    return Estimate(
        currency=currency,
        cost=_amount(middle),
        low=_amount(low),
        high=_amount(high),
        runs=len(costs),
        is_scaled=is_scaled,
    )


def _spread(costs: Sequence[float]) -> tuple[float, float, float]:
    """The middle and both ends of the interval."""
    count = len(costs)
    if min(costs) <= 0:  # what has no price costs nothing, and has no logarithm
        return fmean(costs), min(costs), max(costs)
    logs = [math.log(cost) for cost in costs]
    middle = fmean(logs)
    reach = math.log(_GUESS) if count < LEAST_RUNS else quantile(count - 1) * stdev(logs) * math.sqrt(1 + 1 / count)
    return math.exp(middle), math.exp(middle - reach), math.exp(middle + reach)


def _amount(value: float) -> Decimal:
    return Decimal(f"{value:.9f}")
