"""What a run will cost, before it begins: from what the newest runs of its pipeline did cost that ended well.

Costs of runs are never negative and seldom far below the usual, so they are taken for log-normal: the estimate is their
geometric mean, and the interval is one for a further run (Student's t on the logarithms). What they used is priced by
the sheet as it is now. A search is given a number of trials, so what that of a past run did cost is taken by the trials
and folds of this one, as far as the bounds of this one's search let it grow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from noria.costs import focus
from noria.costs.forecast import quantile
from noria.costs.money import money
from noria.costs.recent import rows_until_now, today
from noria.costs.runs import RunCost, run_costs
from noria.costs.sheet import PriceSheet
from noria.costs.table import open_metered
from noria.errors import NoriaError
from noria.pipeline import Tuning
from noria.records import Candidate, Record, Run, Usage
from noria.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

LEAST_RUNS = 3
"""With fewer an estimate is a guess."""
_MOST_RUNS, _DAYS = 20, 90
_GUESS = 2
"""How many times more or less a run may cost than one or two others."""
_BY = (focus.PIPELINE, focus.RUN, focus.STAGE, focus.DAY, focus.OUTCOME, "SkuId")
_SUMS = (focus.VCPU_SECONDS, focus.CPU_SECONDS, "ConsumedQuantity")
_SECONDS_PER_HOUR = 3600
_SHORTEST_SECONDS = 0.001
_PLACES = Decimal(1).scaleb(-18)


class Estimate(Record):
    """What a run will cost."""

    currency: str
    cost: Decimal | None = None
    """None: there is no run like it to tell from."""
    low: Decimal | None = None
    high: Decimal | None = None
    """It will cost less than `low` in one of ten cases, and more than `high` in one of ten; a guess from few runs."""
    runs: int = 0
    """Runs that it is from."""
    is_scaled: bool = False
    """Whether some of them searched more or less than this one will or may."""
    unpriced: tuple[str, ...] = ()
    """What they used that has no price: the run will cost more than `cost`, nobody knows how much."""

    @property
    def words(self) -> str:
        """All of it in one sentence, or in two where something has no price."""
        if not self.runs:
            return "What this run will cost is unknown: no run of this pipeline has ended well in the last 90 days."
        if not self.unpriced:
            return f"This run will cost {self._figures}"
        lacking = f"no price for {', '.join(self.unpriced)} in the price sheet"
        if not self.cost:
            return f"What this run will cost is unknown: {lacking}."
        return f"What this run will cost is not known in full: {lacking}. The rest of it will cost {self._figures}"

    @property
    def _figures(self) -> str:
        scaled = ", by the trials and bounds of its search" if self.is_scaled else ""
        about, low, high = (money(amount, self.currency) for amount in (self.cost, self.low, self.high))
        if self.runs < LEAST_RUNS:
            runs = "1 run" if self.runs == 1 else f"{self.runs} runs"
            return f"about {about}, perhaps {low} to {high}; that is uncertain, since it is from {runs} only{scaled}."
        return f"about {about} ({low} to {high} in 8 of 10 cases), as the last {self.runs} runs tell{scaled}."


def estimate_run(run: Run, workspace: Workspace, sheet: PriceSheet) -> Estimate:
    """What a run will cost, from the runs of its pipeline in the last 90 days, the newest 20 that ended well.

    Raises:
        StorageError: What was metered cannot be read.
    """
    since = today(workspace) - timedelta(days=_DAYS)
    rows = rows_until_now(open_metered(workspace), workspace, sheet, since, (*_BY, *_SUMS))
    priced = _priced(rows, run, sheet)
    like = [past for past in run_costs(priced) if _is_like(past)][-_MOST_RUNS:]
    trained = [_training(past, run, workspace, sheet) for past in like]
    costs = [past.cost - _train(past) + train for past, train in zip(like, trained, strict=True)]
    is_scaled = any(train != _train(past) for past, train in zip(like, trained, strict=True))
    found = _from(costs, sheet.currency, is_scaled=is_scaled)
    return found.model_copy(update={"unpriced": _unpriced(priced, {past.run_id for past in like}, sheet)})


def _unpriced(rows: pa.Table, runs: set[str], sheet: PriceSheet) -> tuple[str, ...]:
    """What some runs used that has no price. Memory has one only where it is paid for by itself."""
    used = {row["SkuId"] for row in rows.select([focus.RUN, "SkuId"]).to_pylist() if row[focus.RUN] in runs}
    return tuple(sorted(sku for sku in used if not sku.endswith("/memory") and sheet.price_of(sku) is None))


def _priced(rows: pa.Table, run: Run, sheet: PriceSheet) -> pa.Table:
    """What other runs of the pipeline have used, by the sheet's prices: those of then may have been others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    own = rows.filter(pc.and_(pc.equal(rows[focus.PIPELINE], run.pipeline.name), pc.is_valid(rows[focus.RUN])))
    lines = own.group_by(_BY).aggregate([(name, "sum") for name in _SUMS]).to_pylist()
    priced = [
        {
            **{name: line[name] for name in _BY},
            **{name: line[f"{name}_sum"] for name in _SUMS},
            "BillingCurrency": sheet.currency,
            "EffectiveCost": (line["ConsumedQuantity_sum"] * (sheet.price_of(line["SkuId"]) or 0)).quantize(_PLACES),
        }
        for line in lines
        if line[focus.RUN] != run.run_id
    ]
    names = (*_BY, *_SUMS, "BillingCurrency", "EffectiveCost")
    return pa.Table.from_pylist(priced, schema=pa.schema([focus.schema().field(name) for name in names]))


def _is_like(past: RunCost) -> bool:
    """A run that reached its verdict; one that is under way, or was cut off, cost only part of it."""
    return past.outcome == "done" and "promote" in past.by_stage


def _train(past: RunCost) -> Decimal:
    return past.by_stage.get("train", Decimal())


def _training(past: RunCost, run: Run, workspace: Workspace, sheet: PriceSheet) -> Decimal:
    """What a past run's training would cost with the search of this one; what it did cost where that is not known."""
    cost, tuning = _train(past), run.pipeline.tuning
    try:
        before = workspace.load_run(past.pipeline, past.run_id)
        trained = workspace.stage_run(before, "train")
        candidate = Candidate.model_validate(trained.record) if trained else None
    except (NoriaError, ValueError):
        return cost
    if trained is None or candidate is None:
        return cost * _size(tuning) / _size(before.pipeline.tuning)
    return _trained_with((tuning, before.pipeline.tuning), trained.usage, candidate, cost, sheet)


def _trained_with(
    searches: tuple[Tuning, Tuning], used: Usage, candidate: Candidate, cost: Decimal, sheet: PriceSheet
) -> Decimal:
    """What a training would cost with another search than it had: all but its search stays as it was."""
    now, then = searches
    wall = max(used.wall_seconds, _SHORTEST_SECONDS)
    seconds = min(candidate.search_seconds or wall, wall)  # an older record does not say: all of it was search
    search = cost * Decimal(str(seconds / wall))
    was_cut = candidate.stopped_by is not None  # so its trials are not what it was paid for
    scaled = search if was_cut else search * _size(now) / _size(then)
    limit, limit_then = (_limit(bounds, used, seconds, search, sheet) for bounds in searches)
    # What it did cost under a bound as tight it may cost again: trials that run when a bound is reached end.
    return cost - search + min(scaled, max(limit, search if limit_then <= limit else Decimal()))


def _size(tuning: Tuning) -> int:
    return tuning.trials * tuning.folds


def _limit(tuning: Tuning, used: Usage, seconds: float, cost: Decimal, sheet: PriceSheet) -> Decimal:
    """The most that a search may cost by its time and by its cap, where a past one took so long and cost so much."""
    by_time = cost * Decimal(str(tuning.timeout_seconds)) / Decimal(str(seconds))
    price = sheet.price_of(sheet.name_of(used.machine))
    if tuning.max_vcpu_seconds is None or price is None:
        return by_time
    return min(by_time, Decimal(str(tuning.max_vcpu_seconds)) / _SECONDS_PER_HOUR * price)


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
