"""From rules to a verdict."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from noria.gate import Champion, decide
from noria.models.metrics import score
from noria.pipeline import Gate, Threshold
from noria.records import policy_digest
from tests.support.candidates import classification, evidence, regression, said

ROWS = 120
RNG = np.random.default_rng(11)
TARGET = RNG.normal(size=ROWS)
WEAK = TARGET + RNG.normal(0, 0.6, ROWS)
GOOD = TARGET + RNG.normal(0, 0.2, ROWS)


def test_the_first_good_candidate_is_promoted() -> None:
    decision = decide(*evidence(TARGET, GOOD))
    assert decision.verdict == "promote" and decision.comparison is None
    assert decision.reasons == (f"there is no champion yet; r2 {decision.candidate_metrics['r2']:.4g}",)
    assert (decision.champion_version, decision.champion_metrics, decision.waiting) == (None, None, False)


def test_a_better_one_is_promoted_and_a_worse_one_is_not() -> None:
    better, worse = decide(*evidence(TARGET, GOOD, WEAK)), decide(*evidence(TARGET, WEAK, GOOD))
    assert (better.verdict, worse.verdict) == ("promote", "keep")
    assert "beats champion version 1's" in better.reasons[0] and "does not beat" in worse.reasons[0]
    assert better.champion_metrics == pytest.approx(score(regression(), TARGET, WEAK))
    assert better.champion_version == better.previous_champion == "1"
    assert better.compared_rows is None and better.compared_metrics is None
    assert better.policy_sha256 == policy_digest(Gate())


def test_an_equal_one_is_not_promoted() -> None:
    decision = decide(*evidence(TARGET, GOOD, GOOD))
    assert decision.verdict == "keep" and decision.comparison is not None
    for found in decision.comparison.intervals:
        assert (found.improvement, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_a_hair_s_breadth_is_no_improvement() -> None:
    assert decide(*evidence(TARGET, GOOD, TARGET + (GOOD - TARGET) * (1 + 1e-12))).verdict == "keep"


def test_luck_is_not_enough() -> None:
    """A higher metric, within what the rows can tell."""
    other = TARGET + 1.05 * np.roll(GOOD - TARGET, 7)
    decision = decide(*evidence(TARGET, GOOD, other))
    found = decision.comparison.intervals[0] if decision.comparison else None
    assert found and found.improvement > 0 and found.low < 0 and decision.verdict == "keep"
    assert "luck alone would do that with a chance of" in decision.reasons[0]
    rule = decision.rules[-1]
    assert rule.kind == "champion" and rule.needed and "in 80 of 100 cases" in rule.needed
    needed = decision.comparison.rows_needed if decision.comparison else None
    assert needed is not None and needed > ROWS


@pytest.mark.parametrize(("margin", "verdict"), [(0.1, "promote"), (0.35, "keep"), (10, "keep")])
def test_by_more_than_the_margin(margin: float, verdict: str) -> None:
    decision = decide(*evidence(TARGET, GOOD, WEAK, policy=Gate(margin=margin)))
    assert decision.verdict == verdict and "by more than" in decision.reasons[0]
    assert decision.rules[-1].limit == margin and decision.comparison is not None
    assert (decision.comparison.intervals[0].low > margin) == (verdict == "promote")


@pytest.mark.parametrize(
    ("champion", "words"),
    [
        (Champion("3", problem="its file is gone"), "cannot be compared: its file is gone"),
        (Champion("3"), "cannot be compared: there are no predictions"),
        (Champion("3", WEAK[:4]), "cannot be compared: 4 predictions for 120 rows"),
        (Champion("3", WEAK * np.nan), "cannot be compared: 120 of 120 predictions are not finite"),
        (Champion("3", WEAK, seen=np.arange(ROWS) < 100), "only 20 of 120 holdout rows are seen by neither"),
    ],
)
def test_a_champion_that_cannot_be_compared_is_no_free_win(champion: Champion, words: str) -> None:
    decision = decide(*evidence(TARGET, GOOD, champion))
    assert decision.verdict == "keep" and decision.comparison is None
    assert "champion version 3" in decision.reasons[0] and words in decision.reasons[0]


def test_rows_that_the_champion_has_seen_are_left_out_for_both() -> None:
    seen = np.arange(ROWS) < 40
    by_heart = np.where(seen, TARGET, WEAK)
    decision = decide(*evidence(TARGET, GOOD, Champion("1", by_heart, seen=seen)))
    assert decision.verdict == "promote" and decision.compared_rows == 80
    assert decision.champion_metrics == pytest.approx(score(regression(), TARGET[~seen], WEAK[~seen]))
    assert decision.compared_metrics == pytest.approx(score(regression(), TARGET[~seen], GOOD[~seen]))
    assert decision.candidate_metrics == pytest.approx(score(regression(), TARGET, GOOD))
    assert decision.comparison and (decision.comparison.rows, decision.comparison.leaked_rows) == (80, 40)
    assert "the 80 holdout rows that neither has seen" in decision.reasons[0]


def test_a_metric_that_the_shared_rows_do_not_define() -> None:
    labels = np.arange(ROWS) % 3 == 0
    positive = np.where(labels, 0.7, 0.3) + np.linspace(0, 0.1, ROWS)
    case = evidence(
        labels, said(np.column_stack((1 - positive, positive))),
        Champion("1", said(np.full((ROWS, 2), 0.5)), seen=labels), problem=classification("roc_auc"),
    )  # fmt: skip
    decision = decide(*case)
    assert decision.verdict == "keep" and "roc_auc is nan" in decision.reasons[0]


def test_a_rejected_one_is_rejected_though_it_beats_the_champion() -> None:
    decision = decide(*evidence(TARGET, GOOD, WEAK, policy=Gate(thresholds=(Threshold(metric="r2", min=0.9999),))))
    assert decision.verdict == "reject" and decision.rules[-1].passed
    assert len(decision.reasons) == 1 and "is not at least 0.9999" in decision.reasons[0]


def test_an_advisory_champion_rule_is_told_and_stops_nothing() -> None:
    decision = decide(*evidence(TARGET, WEAK, GOOD, policy=Gate(beat_champion="advisory")))
    assert decision.verdict == "promote" and not decision.rules[-1].passed


def test_a_dry_run_says_so() -> None:
    assert decide(*evidence(TARGET, GOOD, policy=Gate(mode="dry_run"))).dry_run


@pytest.mark.parametrize(
    ("standing", "verdict", "kind"),
    [
        ({"thresholds": [{"metric": "r2", "min": 0.9999}]}, "reject", "policy"),
        ({"thresholds": [{"metric": "r2", "min": 0.9999, "level": "advisory"}]}, "promote", None),
        ({"min_rows": 200}, "reject", "policy"),
        ({"margin": 5}, "keep", "champion"),
        ({"mode": "dry_run"}, "promote", None),
        ({"thresholds": [{"metric": "r2", "min": 0.5}]}, "promote", None),
    ],
)
def test_the_policy_of_the_folder_must_be_met_as_well(standing: Any, verdict: str, kind: str | None) -> None:
    decision = decide(*evidence(TARGET, GOOD, WEAK, policy_now=Gate.model_validate(standing)))
    assert decision.verdict == verdict and not decision.dry_run
    assert {rule.kind for rule in decision.rules if not rule.passed} - {"champion"} == {kind} - {"champion", None}
    assert (kind is None) != ("the policy in the pipeline's folder" in decision.reasons[0])


def test_what_fails_under_both_policies_is_told_once() -> None:
    strict = Gate(thresholds=(Threshold(metric="r2", min=0.9999),))
    both = strict.model_copy(update={"alpha": 0.01})
    decision = decide(*evidence(TARGET, GOOD, policy=strict, policy_now=both))
    assert len(decision.reasons) == 1 and "folder" not in decision.reasons[0]


def test_more_looks_ask_for_more() -> None:
    spent = [decide(*evidence(TARGET, GOOD, WEAK, looks=looks)).comparison for looks in (0, 1, 49)]
    found = [c.intervals[0] for c in spent if c]
    assert found[0].low > found[1].low > found[2].low
    assert [c.looks for c in spent if c] == [1, 2, 50]
    assert sum(0.05 * 6 / math.pi**2 / k**2 for k in range(1, 10_000)) < 0.05
    assert [c.alpha_spent for c in spent if c] == pytest.approx([0.05 * 6 / math.pi**2 / k**2 for k in (1, 2, 50)])


def test_it_is_pure() -> None:
    case = evidence(TARGET, GOOD, WEAK)
    arrays = (GOOD.copy(), WEAK.copy(), TARGET.copy())
    assert decide(*case) == decide(*case)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, (GOOD, WEAK, TARGET), strict=True))


def test_the_order_of_rows_changes_nothing() -> None:
    order = RNG.permutation(ROWS)
    one, other = (decide(*evidence(TARGET[o], GOOD[o], WEAK[o])) for o in (np.arange(ROWS), order))
    assert one.comparison == other.comparison and one.reasons == other.reasons
    assert one.candidate_metrics == pytest.approx(other.candidate_metrics)


def test_models_that_change_places_change_the_sign() -> None:
    one, other = (decide(*evidence(TARGET, *pair)).comparison for pair in ((GOOD, WEAK), (WEAK, GOOD)))
    assert one and other
    for there, back in zip(one.intervals, other.intervals, strict=True):
        assert (there.improvement, there.low, there.high) == pytest.approx((-back.improvement, -back.high, -back.low))


def test_a_better_candidate_is_never_judged_worse() -> None:
    """From the champion's own errors to none: the lower bound only rises, and a promotion stays one."""
    errors = WEAK - TARGET
    shares = np.linspace(1, 0.05, 12)
    lows, verdicts = [], []
    for share in shares:
        decision = decide(*evidence(TARGET, TARGET + errors * share, WEAK, problem=regression("mae")))
        assert decision.comparison
        lows.append(decision.comparison.intervals[0].low)
        verdicts.append(decision.verdict)
    assert lows == sorted(lows)
    assert verdicts == sorted(verdicts) and set(verdicts) == {"keep", "promote"}


@pytest.mark.parametrize("size", [1e30, 1e160, 1e300])
def test_predictions_that_are_too_large_to_compute_with_win_nothing(size: float) -> None:
    huge = np.where(np.arange(ROWS) < 1, size, GOOD)
    for metric in ("r2", "mae", "rmse", "rae"):
        mean = np.full(ROWS, np.mean(TARGET))
        assert decide(*evidence(TARGET, huge, GOOD, problem=regression(metric), dummy=mean)).verdict == "reject"
        assert decide(*evidence(TARGET, GOOD, huge, problem=regression(metric))).verdict == "keep"
