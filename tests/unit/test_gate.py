"""The gate, rule by rule."""

import math
from typing import Any

import pytest

from noria.gate import Champion, decide
from noria.pipeline import Gate, Threshold
from noria.records import Candidate, Metrics


def candidate(metrics: Metrics, dummy: Metrics, **changes: Any) -> Candidate:
    primary = next(iter(metrics))
    return Candidate.model_validate(
        {
            "snapshot_id": "s", "task": "regression", "target": "y", "features": ("x",), "estimator": "ridge",
            "params": {}, "primary_metric": primary, "metrics": metrics, "spread": {},
            "baselines": {"dummy": dummy, "linear": dummy}, "contenders": (), "learning_curve": (), "trials": 1,
            "train_rows": 70, "holdout_rows": 30, "holdout_sha256": "h", "seed": 1, "code": "c", "model": "m",
            "model_sha256": "0", "model_bytes": 1, "cluster": "none", **changes,
        }
    )  # fmt: skip


R2 = candidate({"r2": 0.85, "mae": 4.0}, {"r2": -0.001, "mae": 12.0})
MAE = candidate({"mae": 4.0}, {"mae": 12.0})


def test_the_first_good_candidate_is_promoted() -> None:
    decision = decide(R2, None, Gate(thresholds=(Threshold(metric="r2", min=0.8), Threshold(metric="mae", max=5))))
    assert decision.verdict == "promote"
    assert all(rule.passed for rule in decision.rules)
    assert decision.reasons == ("there is no champion yet; r2 0.85",)
    assert decision.champion_version is None and decision.champion_metrics is None


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        (Threshold(metric="r2", min=0.9), "r2 0.85 is not at least 0.9"),
        (Threshold(metric="mae", max=3.5), "mae 4 is not at most 3.5"),
        (Threshold(metric="rmse", max=3.5), "rmse nan is not at most 3.5"),
    ],
)
def test_a_missed_threshold_rejects_even_the_better_model(threshold: Threshold, words: str) -> None:
    decision = decide(R2, Champion("1", metrics={"r2": 0.5, "mae": 9.0}), Gate(thresholds=(threshold,)))
    assert decision.verdict == "reject"
    assert len(decision.reasons) == 1 and words in decision.reasons[0]
    assert decision.champion_version == "1"


def test_a_threshold_is_met_by_equality() -> None:
    assert decide(R2, None, Gate(thresholds=(Threshold(metric="r2", min=0.85),))).verdict == "promote"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_number_rejects(value: float) -> None:
    decision = decide(candidate({"r2": 0.9, "mae": value}, {"r2": 0.0, "mae": 1.0}), None, Gate())
    assert decision.verdict == "reject"
    assert decision.reasons == (f"mae is {value} on the holdout",)


@pytest.mark.parametrize(("metric", "value", "dummy"), [("r2", 0.1, 0.1), ("r2", -0.5, 0.0), ("mae", 13.0, 12.0)])
def test_no_better_than_the_dummy_rejects(metric: str, value: float, dummy: float) -> None:
    decision = decide(candidate({metric: value}, {metric: dummy}), None, Gate())
    assert decision.verdict == "reject" and "does not beat the dummy baseline's" in decision.reasons[0]


@pytest.mark.parametrize(
    ("model", "rival", "margin", "verdict"),
    [
        (R2, {"r2": 0.84}, 0.0, "promote"),
        (R2, {"r2": 0.85}, 0.0, "keep"),
        (R2, {"r2": 0.85 - 1e-12}, 0.0, "keep"),
        (R2, {"r2": 0.86}, 0.0, "keep"),
        (R2, {"r2": 0.84}, 0.02, "keep"),
        (R2, {"r2": 0.82}, 0.02, "promote"),
        (R2, {"r2": 0.75}, 0.1, "keep"),
        (MAE, {"mae": 4.1}, 0.0, "promote"),
        (MAE, {"mae": 4.0}, 0.0, "keep"),
        (MAE, {"mae": 3.9}, 0.0, "keep"),
        (MAE, {"mae": 4.1}, 0.2, "keep"),
    ],
)
def test_better_than_the_champion_by_more_than_the_margin(
    model: Candidate, rival: Metrics, margin: float, verdict: str
) -> None:
    decision = decide(model, Champion("7", metrics=rival), Gate(margin=margin))
    assert decision.verdict == verdict
    assert decision.champion_metrics == rival and decision.previous_champion == "7"
    assert "champion version 7" in decision.reasons[0]
    rule = decision.rules[-1]
    assert not rule.required and rule.passed == (verdict == "promote")


@pytest.mark.parametrize("champion", [Champion("3", problem="column gone"), Champion("3", metrics={"r2": math.nan})])
def test_a_champion_that_cannot_be_judged_is_named_and_replaced(champion: Champion) -> None:
    decision = decide(R2, champion, Gate())
    assert decision.verdict == "promote"
    assert "champion version 3" in decision.reasons[0]
    assert champion.problem is None or "column gone" in decision.reasons[0]


def test_every_failed_rule_is_a_reason_and_the_mode_is_kept() -> None:
    bad = candidate({"r2": -0.2, "mae": 20.0}, {"r2": 0.0, "mae": 12.0})
    policy = Gate(mode="dry_run", thresholds=(Threshold(metric="r2", min=0.8), Threshold(metric="mae", max=5)))
    decision = decide(bad, None, policy)
    assert decision.dry_run and len(decision.reasons) == 3


def test_it_is_pure() -> None:
    champion = Champion("1", metrics={"r2": 0.8})
    assert decide(R2, champion, Gate()) == decide(R2, champion, Gate())


def test_a_small_difference_is_shown_with_the_digits_it_takes() -> None:
    decision = decide(R2, Champion("3", metrics={"r2": 0.8499996, "mae": 4.0}), Gate())
    assert decision.verdict == "promote"
    assert decision.reasons == ("r2 0.85 beats champion version 3's 0.8499996 on the same holdout",)
    equal = decide(R2, Champion("3", metrics=R2.metrics), Gate())
    assert equal.reasons == ("r2 0.85 does not beat champion version 3's 0.85 on the same holdout",)


def test_a_champion_that_has_seen_part_of_the_holdout_is_compared_on_the_rest() -> None:
    champion = Champion("3", metrics={"r2": 0.8}, shared_rows=83, candidate_metrics={"r2": 0.7})
    decision = decide(R2, champion, Gate())
    assert decision.verdict == "keep"
    words = "r2 0.7 does not beat champion version 3's 0.8 on the 83 holdout rows that neither has seen"
    assert decision.reasons == (words,)
    assert decision.candidate_metrics == R2.metrics
    assert (decision.compared_rows, decision.compared_metrics) == (83, {"r2": 0.7})
