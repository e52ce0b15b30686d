"""What the money bought: cost per model, per promoted model, per prediction, per point of metric gained.

Costs are the estimates of runs, since an invoice seldom knows runs; what the runs came to is in their records.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from noria.costs.runs import RunCost
from noria.costs.sheet import PriceSheet
from noria.errors import StorageError
from noria.pipeline import greater_is_better
from noria.records import Candidate, Decision, Record, Run, Snapshot, Usage
from noria.workspace import Workspace

log = logging.getLogger(__name__)
_HOUR = Decimal(3600)
_READS_AT_ONCE = 8
_SHARE_METRICS = frozenset({"r2", "accuracy", "balanced_accuracy", "roc_auc", "f1", "rae", "rse"})
"""Those that run from 0 to 1, or nearly so: a point of them is a hundredth."""


@dataclass(frozen=True)
class RunFacts:
    """What a run cost and what it came to."""

    cost: RunCost
    run: Run
    snapshot: Snapshot | None
    candidate: Candidate | None
    decision: Decision | None
    train_usage: Usage | None
    judged_on: str | None = None
    """The machine of the job that had the models predict."""

    @property
    def created_at(self) -> datetime:
        """When it began."""
        return self.run.created_at

    @property
    def search_cost(self) -> Decimal:
        """What the search of its training cost, or all of it where an older record does not say how long that took."""
        cost = self.cost.by_stage.get("train", Decimal(0))
        seconds = self.candidate and self.candidate.search_seconds
        if not seconds or self.train_usage is None or seconds >= self.train_usage.wall_seconds:
            return cost
        return cost * Decimal(str(seconds / self.train_usage.wall_seconds))

    @property
    def gain(self) -> float | None:
        """By how much the primary metric got better; none without a champion to compare with, or no new one."""
        decision = self.decision
        if decision is None or not decision.new_champion or decision.comparison is None:
            return None
        metric = self.run.pipeline.primary_metric
        return next((i.improvement for i in decision.comparison.intervals if i.metric == metric), None)


class Efficiency(Record):
    """What one pipeline's runs cost and brought, in one currency."""

    pipeline: str
    currency: str
    cost: Decimal
    runs: int
    failed: int
    """Runs that ended badly; they cost money too."""
    models: int
    """Candidates that were trained."""
    promoted: int
    per_model: Decimal | None
    per_promoted: Decimal | None
    metric: str | None = None
    point: float | None = None
    """What counts as a point of the metric: 0.01 of one that runs from 0 to 1, else 1 of its unit."""
    gained: float | None = None
    """Points of the metric that new champions gained over those before them, on rows that both were compared on."""
    per_point: Decimal | None = None
    predictions: int | None = None
    """Rows of holdouts that candidates and champions predicted; none where no record tells of it."""
    prediction_seconds: float | None = None
    """Processor time that these took, while the models answered."""
    per_1000_predictions: Decimal | None = None
    """That time at the price of a vCPU hour; none where the sheet has no price, or another currency."""


def facts(runs: Iterable[RunCost], workspace: Workspace) -> list[RunFacts]:
    """What these runs came to, the oldest first; runs whose records are gone are left out."""
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        found = list(pool.map(lambda cost: _facts(cost, workspace), runs))
    known = [fact for fact in found if fact is not None]
    if len(known) < len(found):
        log.info(
            "%s of %s runs have no records that can be read: they have costs alone", len(found) - len(known), len(found)
        )
    return sorted(known, key=lambda fact: fact.created_at)


def _facts(cost: RunCost, workspace: Workspace) -> RunFacts | None:
    try:
        run = workspace.load_run(cost.pipeline, cost.run_id)
        trained = workspace.stage_run(run, "train")
        judged = workspace.stage_run(run, "release") or workspace.stage_run(run, "promote")
        return RunFacts(
            cost=cost,
            run=run,
            snapshot=workspace.find(run, "ingest", Snapshot),
            candidate=Candidate.model_validate(trained.record) if trained else None,
            decision=workspace.decision(run),
            train_usage=trained.usage if trained else None,
            judged_on=judged.usage.machine if judged else None,
        )
    except (StorageError, ValidationError) as error:
        log.debug("what run %s came to cannot be read: %s", cost.run_id, error)
        return None


def efficiencies(runs: Sequence[RunCost], known: Sequence[RunFacts], sheet: PriceSheet) -> list[Efficiency]:
    """A line for each pipeline and currency, the dearest first.

    Args:
        runs: All runs of a time.
        known: What those came to whose records stand.
        sheet: What a vCPU hour costs.
    """
    groups: dict[tuple[str, str], tuple[list[RunCost], list[RunFacts]]] = defaultdict(lambda: ([], []))
    for run in runs:
        groups[run.pipeline, run.currency][0].append(run)
    for fact in known:
        groups[fact.cost.pipeline, fact.cost.currency][1].append(fact)
    lines = [_efficiency(*names, *group, sheet) for names, group in groups.items()]
    return sorted(lines, key=lambda line: (-line.cost, line.pipeline))


def _efficiency(
    pipeline: str, currency: str, runs: Sequence[RunCost], known: Sequence[RunFacts], sheet: PriceSheet
) -> Efficiency:
    cost = sum((run.cost for run in runs), Decimal(0))
    models = sum(f.candidate is not None for f in known)
    promoted = sum(f.decision is not None and f.decision.new_champion for f in known)
    metric = known[-1].run.pipeline.primary_metric if known else None
    point = None if metric is None else 0.01 if metric in _SHARE_METRICS else 1.0
    gains = [f.gain for f in known if f.gain is not None and f.run.pipeline.primary_metric == metric]
    gained = sum(gains) / point if gains and point else None
    return Efficiency(
        pipeline=pipeline,
        currency=currency,
        cost=cost,
        runs=len(runs),
        failed=sum(run.outcome != "done" for run in runs),
        models=models,
        promoted=promoted,
        per_model=cost / models if models else None,
        per_promoted=cost / promoted if promoted else None,
        metric=metric,
        point=point,
        gained=gained,
        per_point=cost / Decimal(str(gained)) if gained and gained > 0 else None,
        **_predictions(known, sheet if currency == sheet.currency else None),
    )


def _predictions(known: Sequence[RunFacts], sheet: PriceSheet | None) -> dict[str, Any]:
    """How many rows were predicted, what that took, and what a thousand of them cost where there are prices."""
    told = [(f.judged_on, f.decision.predicting) for f in known if f.decision and f.decision.predicting]
    rows = sum(predicting.rows for _, predicting in told)
    if not rows:
        return {}
    figures = {"predictions": rows, "prediction_seconds": sum(predicting.cpu_seconds for _, predicting in told)}
    prices = {machine: sheet.machines.get(sheet.name_of(machine)) for machine, _ in told if machine} if sheet else {}
    priced = [(price, p) for machine, p in told if machine and (price := prices.get(machine))]
    if not (thousands := Decimal(sum(p.rows for _, p in priced)) / 1000):
        return figures
    cost = sum((price.vcpu_hour * Decimal(str(p.cpu_seconds)) / _HOUR for price, p in priced), Decimal(0))
    return figures | {"per_1000_predictions": cost / thousands}


def is_near(candidate: Candidate, family: str) -> bool:
    """Whether a family of estimators came near the best one in the search of a run.

    It did if the two means over repeated splits are less than two standard deviations of both apart.
    """
    metric = candidate.primary_metric
    tried = [c for c in candidate.contenders if metric in c.cv]
    own = [c.cv[metric] for c in tried if c.name == family]
    if not own:
        return True
    sign = 1 if greater_is_better(metric) else -1
    best = max((c.cv[metric] for c in tried), key=lambda spread: sign * spread.mean)
    return any(sign * (best.mean - spread.mean) <= 2 * (best.sd + spread.sd) for spread in own)
