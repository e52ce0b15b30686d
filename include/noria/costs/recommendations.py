"""Waste, found: each recommendation says in words what to do, what the last 31 days would have cost less, and how that
was reckoned. What is below a cent is no recommendation.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Literal

from noria.costs.efficiency import RunFacts, is_near
from noria.costs.reconcile import LOCAL, Reconciliation
from noria.costs.runs import RunCost, StageUse
from noria.costs.sheet import MachinePrice, PriceSheet
from noria.pipeline import RESERVED
from noria.records import Record
from noria.records.figures import percent

LEAST_SAVING = Decimal("0.01")
BUSY = 0.8
"""The share of its vCPUs that a job can be expected to keep busy."""
_FAR_BELOW = 0.5
_LEAST_RUNS = 3
_LEAST_STREAK = 5
_GIBIBYTE = 2**30


class Recommendation(Record):
    """One thing to do."""

    kind: Literal["idle compute", "idle nodes", "hopeless trials", "needless retraining", "oversize node"]
    pipeline: str | None
    currency: str
    saving: Decimal
    """What the last 31 days would have cost less."""
    advice: str
    """What was found, and what to do."""
    reckoned: str
    """How the saving was found."""


def recommend(
    runs: Sequence[RunCost],
    known: Sequence[RunFacts],
    uses: Sequence[StageUse],
    sheet: PriceSheet,
    reconciliations: Sequence[Reconciliation] = (),
) -> list[Recommendation]:
    """All that is worth a cent a month, the greatest saving first.

    Args:
        runs: All runs of 31 days.
        known: What those came to whose records stand, the oldest first.
        uses: What their stages used of what was paid for.
        sheet: The price sheet, which knows the nodes.
        reconciliations: Estimate beside invoice over these days.
    """
    found: list[Recommendation] = []
    for pipeline, currency in sorted({(run.pipeline, run.currency) for run in runs}):
        facts = [f for f in known if (f.cost.pipeline, f.cost.currency) == (pipeline, currency)]
        oversize = list(_oversize_node(facts, sheet))
        found += [*oversize, *_needless_retraining(facts), *_hopeless_trials(facts)]
        # A smaller node is the remedy for both, and its saving counts once; a reserved name has no spec to change.
        if not oversize and pipeline not in RESERVED:
            found += _idle_compute([u for u in uses if (u.pipeline, u.currency) == (pipeline, currency)])
    found += [r for reconciliation in reconciliations for r in _idle_nodes(reconciliation)]
    return sorted((r for r in found if r.saving >= LEAST_SAVING), key=lambda r: (-r.saving, r.pipeline or "", r.kind))


def _idle_compute(uses: Sequence[StageUse]) -> Iterator[Recommendation]:
    """Of jobs on nodes: a machine of one's own costs no less when it is used less."""
    stages: Mapping[str, list[StageUse]] = defaultdict(list)
    for use in uses:
        if use.machine.lower() != LOCAL:
            stages[use.stage].append(use)
    savings = {stage: _idle(of_stage) for stage, of_stage in stages.items()}
    saving = sum(savings.values(), Decimal(0))
    if not saving:
        return
    most = max(savings, key=lambda stage: (savings[stage], stage))
    workers = ", or more workers that search at once (tuning.workers)" if most == "train" else ""
    paid, used = _seconds(stages[most])
    yield Recommendation(
        kind="idle compute",
        pipeline=uses[0].pipeline,
        currency=uses[0].currency,
        saving=saving,
        advice=f"Most is wasted by {most}, whose jobs used {percent(used / paid)} of the vCPU time of their nodes. "
        f"Give it nodes with fewer vCPUs{workers}.",
        reckoned=f"{_hours(paid)} vCPU hours of {most} were paid for and {_hours(used)} used; with {percent(BUSY)} of "
        f"them used in each stage the same work costs so much less, {percent(float(savings[most] / saving))} of it in "
        f"{most}.",
    )


def _idle(uses: Sequence[StageUse]) -> Decimal:
    """What the jobs of a stage would have cost less with `BUSY` of their time used."""
    paid, used = _seconds(uses)
    cost = sum((use.cost for use in uses), Decimal(0))
    return cost * Decimal(str(max(0.0, 1 - used / (BUSY * paid)))) if paid else Decimal(0)


def _seconds(uses: Sequence[StageUse]) -> tuple[float, float]:
    """vCPU seconds that were paid for, and used."""
    return sum(use.vcpu_seconds for use in uses), sum(use.cpu_seconds for use in uses)


def _oversize_node(known: Sequence[RunFacts], sheet: PriceSheet) -> Iterator[Recommendation]:
    by_machine: Mapping[str, list[RunFacts]] = defaultdict(list)
    for fact in known:
        if fact.train_usage is not None:
            by_machine[sheet.name_of(fact.train_usage.machine)].append(fact)
    for machine, facts in by_machine.items():
        price = sheet.machines.get(machine)
        if machine.lower() == LOCAL or price is None or price.memory_gb is None or len(facts) < _LEAST_RUNS:
            continue
        busy, memory = _peaks(facts, price)
        if busy >= _FAR_BELOW or memory >= _FAR_BELOW:
            continue
        cost = sum((fact.cost.by_stage.get("train", Decimal(0)) for fact in facts), Decimal(0))
        yield Recommendation(
            kind="oversize node",
            pipeline=facts[0].cost.pipeline,
            currency=facts[0].cost.currency,
            saving=cost / 2,
            advice=f"Its trainings use {percent(busy)} of the vCPU time and {percent(memory)} of the memory of "
            f"{machine} at most. "
            "Train on a node of half the size.",
            reckoned=f"The most of {len(facts)} trainings; a node of half the size costs half of what they did.",
        )


def _peaks(facts: Sequence[RunFacts], price: MachinePrice) -> tuple[float, float]:
    """The greatest shares of a node's vCPUs and memory that trainings used."""
    usages = [f.train_usage for f in facts if f.train_usage is not None]
    size = float(price.memory_gb or 0) * _GIBIBYTE
    busy = max((u.cpu_seconds / u.vcpu_seconds for u in usages if u.vcpu_seconds), default=1.0)
    return busy, max(u.peak_rss_bytes for u in usages) / size


def _hopeless_trials(known: Sequence[RunFacts]) -> Iterator[Recommendation]:
    searched = [(f, f.candidate) for f in known if f.candidate is not None]
    if len(searched) < _LEAST_RUNS:
        return
    families = {c.name for _, candidate in searched for c in candidate.contenders if c.trials}
    for family in sorted(families):
        tried = [(f, c) for f, c in searched if any(x.name == family and x.trials for x in c.contenders)]
        if len(tried) < _LEAST_RUNS or any(is_near(candidate, family) for _, candidate in tried):
            continue
        saving, seconds = Decimal(0), 0.0
        for fact, candidate in tried:
            own = sum(c.seconds for c in candidate.contenders if c.name == family)
            whole = sum(c.seconds for c in candidate.contenders)
            seconds += own
            saving += fact.search_cost * Decimal(str(own / whole if whole else 0))
        trials = next(c.trials for c in tried[-1][1].contenders if c.name == family and c.trials)
        yield Recommendation(
            kind="hopeless trials",
            pipeline=tried[0][0].cost.pipeline,
            currency=tried[0][0].cost.currency,
            saving=saving,
            advice=f"{family} never came near the best model in {len(tried)} searches. Take it out of estimators, and "
            f"its {trials} trials out of tuning.trials, or the others get them.",
            reckoned=f"Its share of the seconds of all trials ({seconds:.0f} s), times what the searches cost.",
        )


def _needless_retraining(known: Sequence[RunFacts]) -> Iterator[Recommendation]:
    decided = [f for f in known if f.decision is not None]
    same = {id(now) for before, now in itertools.pairwise(decided) if _repeats(before, now)}
    repeated = [f for f in decided if id(f) in same]
    if repeated:
        cost = sum((_after_ingest(f) for f in repeated), Decimal(0))
        yield Recommendation(
            kind="needless retraining",
            pipeline=repeated[0].cost.pipeline,
            currency=repeated[0].cost.currency,
            saving=cost,
            advice=f"{_times(len(repeated))} it was trained on the very data of the run before, by the same code and "
            "spec, and no model was promoted. Let its schedule follow the data.",
            reckoned="What these runs cost after ingest.",
        )
    streak: list[RunFacts] = []
    for fact in reversed(decided):
        if fact.decision is None or fact.decision.new_champion:
            break
        if id(fact) not in same:
            streak.append(fact)
    if len(streak) >= _LEAST_STREAK:
        yield Recommendation(
            kind="needless retraining",
            pipeline=streak[0].cost.pipeline,
            currency=streak[0].cost.currency,
            saving=sum((f.cost.cost for f in streak), Decimal(0)) / 2,
            advice=f"The last {len(streak)} candidates on new data were kept or rejected. Train half as often.",
            reckoned="Half of what these runs cost.",
        )


def _repeats(before: RunFacts, now: RunFacts) -> bool:
    """Whether a run did the same again, and nothing came of it."""
    if before.snapshot is None or now.snapshot is None or (now.decision is not None and now.decision.new_champion):
        return False
    same_data = before.snapshot.sha256 == now.snapshot.sha256
    return same_data and before.run.code == now.run.code and before.run.pipeline == now.run.pipeline


def _after_ingest(fact: RunFacts) -> Decimal:
    return sum((cost for stage, cost in fact.cost.by_stage.items() if stage != "ingest"), Decimal(0))


def _hours(seconds: float) -> str:
    """Hours to two significant digits."""
    return f"{float(f'{seconds / 3600:.2g}'):,g}"


def _times(count: int) -> str:
    return "Once" if count == 1 else f"{count} times"


def _idle_nodes(reconciliation: Reconciliation) -> Iterator[Recommendation]:
    idle = reconciliation.total.parts.idle
    yield Recommendation(
        kind="idle nodes",
        pipeline=None,
        currency=reconciliation.currency,
        saving=idle,
        advice="Nodes were paid for while no job ran on them. Let clusters shrink sooner, and Spark pools pause; "
        "reserve no more than is used.",
        reckoned=f"The invoice’s node time beyond what jobs were metered to use, over {reconciliation.days} days.",
    )
