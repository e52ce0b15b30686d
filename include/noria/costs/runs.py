"""What each run cost, and what stages used of the time that was paid for, from rows that were metered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from noria.costs import focus

if TYPE_CHECKING:
    import pyarrow as pa

_GROUP = (focus.PIPELINE, focus.RUN, "BillingCurrency", focus.DAY, focus.STAGE, focus.OUTCOME)
_TOLD = "told"
_WORST = ("killed", "failed", "done")


@dataclass(frozen=True)
class RunCost:
    """One run.

    Attributes:
        pipeline: Whose run it was.
        run_id: Its id.
        day: The day (UTC) on which its first job ended.
        currency: Of its costs.
        cost: Of all its jobs, failed attempts included.
        by_stage: The same by stage.
        vcpu_seconds: What was paid for.
        cpu_seconds: What was used of it, as far as that is told.
        told_vcpu_seconds: What was paid for of jobs that tell what they used; Spark's platform does not.
        outcome: `done` where each stage that was tried ended well at last, else `failed` or `killed`.
    """

    pipeline: str
    run_id: str
    day: date
    currency: str
    cost: Decimal
    by_stage: Mapping[str, Decimal]
    vcpu_seconds: float
    cpu_seconds: float
    outcome: str
    told_vcpu_seconds: float = 0.0


@dataclass(frozen=True)
class StageUse:
    """Jobs of a stage on one kind of machine, those that tell what they used.

    Attributes:
        pipeline, stage: Theirs.
        machine: What they ran on, as the price sheet calls it.
        currency: Of what they cost.
        cost: Of their vCPU time.
        vcpu_seconds: What was paid for.
        cpu_seconds: What was used of it.
    """

    pipeline: str
    stage: str
    machine: str
    currency: str
    cost: Decimal
    vcpu_seconds: float
    cpu_seconds: float


def stage_uses(rows: pa.Table) -> list[StageUse]:
    """What stages of runs used of what was paid for, where that is told.

    Args:
        rows: Metered ones, in the FOCUS layout.
    """
    import pyarrow.compute as pc

    keys = [focus.PIPELINE, focus.STAGE, focus.MACHINE, "BillingCurrency"]
    figures = ["EffectiveCost", focus.VCPU_SECONDS, focus.CPU_SECONDS]
    told = rows.filter(pc.and_(pc.is_valid(rows[focus.RUN]), pc.greater(rows[focus.CPU_SECONDS], 0)))
    sums = told.select([*keys, *figures]).group_by(keys).aggregate([(name, "sum") for name in figures])
    return [
        StageUse(
            pipeline=line[focus.PIPELINE],
            stage=line[focus.STAGE] or "",
            machine=line[focus.MACHINE] or "",
            currency=line["BillingCurrency"],
            cost=line["EffectiveCost_sum"],
            vcpu_seconds=line[f"{focus.VCPU_SECONDS}_sum"],
            cpu_seconds=line[f"{focus.CPU_SECONDS}_sum"],
        )
        for line in sums.to_pylist()
    ]


def run_costs(rows: pa.Table) -> list[RunCost]:
    """What each run cost, by day and then by name; a run whose rows are in two currencies is there twice.

    Args:
        rows: Metered ones, in the FOCUS layout; those that belong to no run are left out.
    """
    import pyarrow.compute as pc

    of_runs = rows.filter(pc.is_valid(rows[focus.RUN]))
    sums = [("EffectiveCost", "sum"), (focus.VCPU_SECONDS, "sum"), (focus.CPU_SECONDS, "sum")]
    grouped: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    told = pc.greater(of_runs[focus.CPU_SECONDS], 0)
    for line in of_runs.append_column(_TOLD, told).group_by((*_GROUP, _TOLD)).aggregate(sums).to_pylist():
        key = (line[focus.PIPELINE], line[focus.RUN], line["BillingCurrency"])
        grouped.setdefault(key, []).append(line)
    found = [_run(*key, lines) for key, lines in grouped.items()]
    return sorted(found, key=lambda run: (run.day, run.pipeline, run.run_id, run.currency))


def _run(pipeline: str, run_id: str, currency: str, lines: list[dict[str, Any]]) -> RunCost:
    by_stage: dict[str, Decimal] = {}
    outcomes: dict[str, set[str]] = {}
    for line in lines:
        stage = line[focus.STAGE] or ""
        by_stage[stage] = by_stage.get(stage, Decimal(0)) + line["EffectiveCost_sum"]
        outcomes.setdefault(stage, set()).add(line[focus.OUTCOME] or "done")
    return RunCost(
        pipeline=pipeline,
        run_id=run_id,
        day=min(date.fromisoformat(line[focus.DAY]) for line in lines),
        currency=currency,
        cost=sum(by_stage.values(), Decimal(0)),
        by_stage=by_stage,
        vcpu_seconds=sum(line[f"{focus.VCPU_SECONDS}_sum"] or 0.0 for line in lines),
        cpu_seconds=sum(line[f"{focus.CPU_SECONDS}_sum"] or 0.0 for line in lines),
        outcome=_outcome(outcomes.values()),
        told_vcpu_seconds=sum(line[f"{focus.VCPU_SECONDS}_sum"] or 0.0 for line in lines if line[_TOLD]),
    )


def _outcome(of_stages: Iterable[set[str]]) -> str:
    """A stage that was done in the end is done, whatever its earlier attempts came to."""
    ends = {"done" if "done" in outcomes else min(outcomes, key=_WORST.index) for outcomes in of_stages}
    return min(ends, key=_WORST.index)
