"""What the money bought, and the waste that is found in it, on runs whose figures are known."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from noria.costs.efficiency import RunFacts, efficiencies, facts, is_near
from noria.costs.recommendations import Recommendation, recommend
from noria.costs.reconcile import Compared, Parts, Reconciliation
from noria.costs.runs import RunCost, StageUse
from noria.records import Candidate, Decision, Predicting, Spread, Usage
from noria.settings import Settings
from noria.workspace import Workspace
from tests.support import story
from tests.support.charges import NODE, SHEET
from tests.support.judged import comparison, decision
from tests.support.pipelines import students
from tests.support.runs import done

PIPELINE = students()
CANDIDATE = story.candidate(PIPELINE)
HOUR = 3600.0


def run_cost(number: int, train: str = "0.60", ingest: str = "0.10", **changes: Any) -> RunCost:
    stages = {"ingest": Decimal(ingest), "train": Decimal(train)}
    run = RunCost(
        "students", f"r{number}", date(2026, 11, 1), "USD", sum(stages.values(), Decimal(0)), stages, HOUR, 0.9 * HOUR,
        "done", HOUR,
    )  # fmt: skip
    return replace(run, **changes)


def fact(
    number: int,
    verdict: Decision | None = None,
    *,
    sha: str | None = None,
    candidate: Candidate | None = CANDIDATE,
    usage: Usage | None = None,
    **changes: Any,
) -> RunFacts:
    """The run of a day, on data of its own unless told otherwise."""
    run = story.run_of(PIPELINE)
    run = run.model_copy(update={"run_id": f"r{number}", "created_at": run.created_at + timedelta(days=number)})
    snapshot = story.snapshot(PIPELINE).model_copy(update={"sha256": sha or f"{number:064}"})
    verdict = decision("keep") if verdict is None else verdict
    return RunFacts(run_cost(number, **changes), run, snapshot, candidate, verdict, usage)


def found(*known: RunFacts, kind: str) -> list[Recommendation]:
    return [r for r in recommend([f.cost for f in known], known, [], SHEET) if r.kind == kind]


# What it bought


def test_cost_per_model_per_promoted_model_and_per_point() -> None:
    known = [
        fact(0, decision("promote", comparison=comparison(0.870, 0.858, 0.004))),
        fact(1, decision("keep", comparison=comparison(0.860, 0.858, 0.004))),
        fact(2, decision("promote", comparison=comparison(0.878, 0.870, 0.004))),
        fact(3, candidate=None),
    ]
    failed = run_cost(9, outcome="failed")  # without records
    (line,) = efficiencies([*(f.cost for f in known), failed], known, SHEET)
    assert (line.cost, line.runs, line.failed, line.models, line.promoted) == (Decimal("3.5"), 5, 1, 3, 2)
    assert line.per_model == Decimal("3.5") / 3
    assert line.per_promoted == Decimal("1.75")
    assert (line.metric, line.point) == ("r2", 0.01)
    assert line.gained == pytest.approx(2.0), "0.012 and 0.008 in hundredths; what was kept gains nothing"
    assert float(line.per_point or 0) == pytest.approx(1.75)


def predicted(rows: int, seconds: float) -> Decision:
    return decision("keep", predicting=Predicting(rows=rows, cpu_seconds=seconds))


def test_a_thousand_predictions_cost_their_cpu_time_at_the_price_of_the_machine_that_made_them() -> None:
    """1,800 rows in 9 s at 0.05 an hour and 600 in 3.6 s at 0.40 for four: 0.000485 for 2,400."""
    before_it_was_measured = fact(2)
    known = [
        replace(fact(0, predicted(1800, 9.0)), judged_on="local"),
        replace(fact(1, predicted(600, 3.6)), judged_on=NODE.upper()),
        before_it_was_measured,
    ]
    (line,) = efficiencies([f.cost for f in known], known, SHEET)
    assert (line.predictions, line.prediction_seconds) == (2400, pytest.approx(12.6))
    cost = Decimal("0.05") * 9 / 3600 + Decimal("0.10") * Decimal("3.6") / 3600
    assert float(line.per_1000_predictions or 0) == pytest.approx(float(cost / Decimal("2.4")))


@pytest.mark.parametrize(
    ("machine", "currency", "predictions"), [("unpriced", "USD", 500), ("local", "EUR", 500), (None, "USD", 500)]
)
def test_predictions_without_a_price_are_told_without_one(machine: str | None, currency: str, predictions: int) -> None:
    one = replace(fact(0, predicted(500, 1.0), currency=currency), judged_on=machine)
    (line,) = efficiencies([one.cost], [one], SHEET)
    assert (line.predictions, line.per_1000_predictions) == (predictions, None)


def test_nothing_is_divided_by_nothing() -> None:
    (line,) = efficiencies([run_cost(0)], [], SHEET)
    assert (line.per_model, line.per_promoted, line.per_point, line.gained) == (None, None, None, None)
    assert (line.predictions, line.per_1000_predictions) == (None, None)


def test_the_first_champion_gains_no_points() -> None:
    first = fact(0, decision("promote", comparison=None, previous_champion=None))
    (line,) = efficiencies([first.cost], [first], SHEET)
    assert (line.promoted, line.gained) == (1, None)


def test_two_currencies_are_two_lines() -> None:
    lines = efficiencies([run_cost(0), run_cost(1, currency="EUR")], [], SHEET)
    assert sorted(line.currency for line in lines) == ["EUR", "USD"]


def test_what_runs_came_to_is_read_from_their_records(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    workspace = Workspace.open(Settings.from_env({}, home=tmp_path))
    run = workspace.create_run("students", "r1")
    done(workspace, run, "ingest", story.snapshot(PIPELINE))
    done(workspace, run, "train", CANDIDATE)
    done(workspace, run, "promote", decision("promote"))
    with caplog.at_level(logging.INFO):
        (read,) = facts([run_cost(1), run_cost(2), run_cost(3)], workspace)  # nobody knows r2 and r3
    assert caplog.messages == ["2 of 3 runs have no records that can be read: they have costs alone"]
    assert read.candidate == CANDIDATE and read.decision == decision("promote")
    assert read.snapshot is not None and read.train_usage is not None and read.judged_on == "local"
    assert read.gain == pytest.approx(0.006)


# What was wasted


def use(share: float, stage: str = "train", machine: str = NODE, cost: str = "0.70", **changes: Any) -> StageUse:
    """An hour of a node, of which a share was used."""
    return replace(StageUse("students", stage, machine, "USD", Decimal(cost), HOUR, share * HOUR), **changes)


def test_idle_compute_is_what_eighty_percent_in_each_stage_would_have_cost_less() -> None:
    uses = [use(0.2), use(0.6, "judge", cost="0.40"), use(1.0, "judge", cost="0.40"), use(0.95, "score")]
    (idle,) = recommend([run_cost(0)], [], uses, SHEET)
    assert (idle.kind, idle.pipeline, idle.saving) == ("idle compute", "students", Decimal("0.70") * Decimal("0.75"))
    assert idle.advice.startswith("Most is wasted by train, whose jobs used 20 % of the vCPU time of their nodes.")
    assert "(tuning.workers)" in idle.advice and idle.reckoned.endswith("so much less, 100 % of it in train.")
    assert recommend([run_cost(0)], [], [use(0.81)], SHEET) == []


def test_the_stage_that_wastes_most_is_named() -> None:
    """Half of 0.30, and three quarters of 0.60; only a search has workers."""
    (idle,) = recommend([run_cost(0)], [], [use(0.4, cost="0.30"), use(0.2, "promote", cost="0.60")], SHEET)
    assert idle.saving == Decimal("0.15") + Decimal("0.45")
    assert "wasted by promote, whose jobs used 20 %" in idle.advice and "tuning" not in idle.advice
    assert "75 % of it in promote" in idle.reckoned


def test_a_machine_of_ones_own_is_given_no_advice_that_would_save_nobody_anything() -> None:
    roomy = SHEET.machines["local"].model_copy(update={"memory_gb": Decimal(64)})
    sheet = SHEET.model_copy(update={"machines": {**SHEET.machines, "local": roomy}})
    known = [fact(i, usage=usage(0.1, 2, "local")) for i in range(3)]
    assert recommend([f.cost for f in known], known, [use(0.1, machine="local")], sheet) == []


def test_the_nights_of_the_export_are_given_no_advice() -> None:
    assert recommend([run_cost(0, pipeline="noria")], [], [use(0.2, pipeline="noria")], SHEET) == []


def test_what_is_below_a_cent_is_no_recommendation() -> None:
    assert recommend([run_cost(0)], [], [use(0.01, cost="0.009")], SHEET) == []


def far(name: str) -> Candidate:
    """A candidate one of whose families never came near, and took half of the seconds."""
    contenders = tuple(
        c.model_copy(update={"cv": {"r2": Spread(mean=0.5, sd=0.01)}, "seconds": 6.0}) if c.name == name else c
        for c in CANDIDATE.contenders
    )
    return CANDIDATE.model_copy(update={"contenders": contenders})


def test_a_family_that_never_came_near_costs_its_share_of_the_seconds() -> None:
    (advice,) = found(*(fact(i, candidate=far("xgboost")) for i in range(3)), kind="hopeless trials")
    assert advice.advice.startswith("xgboost never came near the best model in 3 searches.")
    assert "and its 6 trials out of tuning.trials" in advice.advice, "else the other families spend them"
    assert advice.saving == Decimal("1.80") / 2, "6 of 12 seconds of three trainings"


def test_what_is_not_search_is_not_saved_with_a_family() -> None:
    searched = far("xgboost").model_copy(update={"search_seconds": HOUR / 4})
    known = [fact(i, candidate=searched, usage=usage(0.9, 12)) for i in range(3)]
    (advice,) = found(*known, kind="hopeless trials")
    assert advice.saving == Decimal("1.80") / 4 / 2


def test_a_family_that_came_near_once_stays() -> None:
    known = [*(fact(i, candidate=far("xgboost")) for i in range(3)), fact(3)]
    assert found(*known, kind="hopeless trials") == []
    assert found(*known[:2], kind="hopeless trials") == [], "two searches say little"


def test_near_is_within_two_standard_deviations_of_both() -> None:
    assert is_near(CANDIDATE, "random_forest"), "0.040 apart, and 0.048 is near"
    assert not is_near(far("random_forest"), "random_forest")
    assert is_near(CANDIDATE, "unknown")


def test_training_again_on_the_same_data_is_needless_after_ingest() -> None:
    known = [fact(number, sha=sha) for number, sha in enumerate("aabb")]
    (advice,) = found(*known, kind="needless retraining")
    assert advice.saving == Decimal("1.20"), "two trainings, not their ingest"
    assert advice.advice.startswith("2 times it was trained on the very data of the run before")


def test_other_code_or_a_promotion_is_no_needless_retraining() -> None:
    other = fact(1, sha="a")
    other = replace(other, run=other.run.model_copy(update={"code": "f" * 16}))
    assert found(fact(0, sha="a"), other, kind="needless retraining") == []
    assert found(fact(0, sha="a"), fact(1, decision("promote"), sha="a"), kind="needless retraining") == []


def test_candidates_that_are_kept_out_again_and_again_are_told() -> None:
    known = [fact(0, decision("promote")), *(fact(i, decision("keep" if i % 2 else "reject")) for i in range(1, 6))]
    (advice,) = found(*known, kind="needless retraining")
    assert advice.saving == 5 * Decimal("0.70") / 2
    assert advice.advice == "The last 5 candidates on new data were kept or rejected. Train half as often."
    assert found(*known[:5], kind="needless retraining") == []


def usage(cpu_share: float, memory_gb: float, machine: str = NODE) -> Usage:
    return Usage(
        wall_seconds=HOUR, cpu_seconds=4 * HOUR * cpu_share, peak_rss_bytes=int(memory_gb * 2**30),
        vcpu_seconds=4 * HOUR, machine=machine,
    )  # fmt: skip


def test_a_node_of_which_less_than_half_is_needed_is_too_large() -> None:
    spellings = (NODE, NODE.upper(), NODE.lower())  # Azure writes all of them
    known = [fact(i, usage=usage(0.2 + i / 10, 2, name)) for i, name in enumerate(spellings)]
    (advice,) = recommend([f.cost for f in known], known, [use(0.1)], SHEET)
    assert advice.kind == "oversize node", "idle compute has the same remedy, and is not counted again"
    assert advice.saving == Decimal("0.90")
    assert advice.advice.startswith(
        f"Its trainings use 40 % of the vCPU time and 12 % of the memory of {NODE} at most."
    )


@pytest.mark.parametrize(("cpu_share", "memory_gb"), [(0.6, 2), (0.2, 9)])
def test_a_node_that_is_needed_once_stays(cpu_share: float, memory_gb: float) -> None:
    known = [fact(0, usage=usage(cpu_share, memory_gb)), *(fact(i, usage=usage(0.2, 2)) for i in (1, 2))]
    assert found(*known, kind="oversize node") == []


def test_idle_nodes_come_from_the_invoice_and_the_greatest_saving_is_first() -> None:
    total = Compared(name="total", estimate=Decimal(1), invoice=Decimal(6), parts=Parts(idle=Decimal(5)))
    days = {"days": 3, "first": "2026-11-01", "last": "2026-11-03"}
    invoice = Reconciliation(
        currency="USD", total=total, by_day=(total,), by_pipeline=(total,), by_tag=(), prices=(), **days
    )
    kinds = [(r.kind, r.saving) for r in recommend([run_cost(0)], [], [use(0.0)], SHEET, [invoice])]
    assert kinds == [("idle nodes", 5), ("idle compute", Decimal("0.70"))]
