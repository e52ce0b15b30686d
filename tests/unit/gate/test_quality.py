"""Whether the model is good by itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from noria.gate import KINDS, decide
from noria.models.metrics import score
from noria.pipeline import Gate, Threshold
from noria.records import Rule, Spread
from tests.support.candidates import Evidence, classification, evidence, regression, said

RNG = np.random.default_rng(5)
TARGET = RNG.normal(size=200)
GOOD = TARGET + RNG.normal(0, 0.3, 200)
LABELS = RNG.random(200) < 0.3
SURE = np.clip(0.5 + (LABELS - 0.5) * 0.5 + RNG.normal(0, 0.2, 200), 0.01, 0.99)


def rule(case: Evidence, kind: str) -> Rule:
    decision = decide(*case)
    (found,) = [r for r in decision.rules if r.kind == kind]
    assert all(r.kind in KINDS for r in decision.rules)
    assert (decision.verdict == "reject") == (found.required and not found.passed), decision.reasons
    if not found.passed and found.required:
        assert decision.reasons == (found.detail,)
    return found


def shares(positive: np.ndarray) -> np.ndarray:
    return np.column_stack((1 - positive, positive))


def test_metrics_are_the_gate_s_own_and_not_what_training_says() -> None:
    decision = decide(*evidence(TARGET, GOOD))
    assert decision.candidate_metrics == score(regression(), TARGET, GOOD)


@pytest.mark.parametrize(
    ("threshold", "passed"),
    [
        (Threshold(metric="r2", min=0.5), True),
        (Threshold(metric="r2", min=0.999), False),
        (Threshold(metric="mae", max=1), True),
        (Threshold(metric="mae", max=0.01), False),
        (Threshold(metric="mae", max=0.01, level="advisory"), False),
        (Threshold(metric="rmse", max=1), False),  # no metric of the pipeline
    ],
)
def test_thresholds(threshold: Threshold, passed: bool) -> None:
    found = rule(evidence(TARGET, GOOD, policy=Gate(thresholds=(threshold,))), "threshold")
    assert found.passed == passed and found.limit == (threshold.min or threshold.max)
    assert passed or f"is not at {'least' if threshold.min else 'most'}" in found.detail


def test_a_threshold_is_met_by_equality() -> None:
    exactly = score(regression(), TARGET, GOOD)["r2"]
    assert rule(
        evidence(TARGET, GOOD, policy=Gate(thresholds=(Threshold(metric="r2", min=exactly),))), "threshold"
    ).passed


def test_a_metric_that_the_rows_do_not_define_rejects() -> None:
    labels = np.zeros(40, bool)
    positive = np.linspace(0.1, 0.4, 40)
    found = rule(evidence(labels, said(shares(positive)), problem=classification("accuracy", "roc_auc")), "finite")
    assert not found.passed and found.detail == "roc_auc is nan on the holdout"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_training_itself_calls_no_number_rejects(value: float) -> None:
    found = rule(evidence(TARGET, GOOD, changes={"metrics": {"r2": 0.9, "mae": value}}), "finite")
    assert not found.passed and found.detail == f"training says that mae is {value}"


def test_no_better_than_a_model_without_features_rejects() -> None:
    mean = np.full(200, TARGET.mean())
    case = evidence(TARGET, -GOOD, dummy=mean, changes={"baselines": {"dummy": {"r2": -9.0}}})
    found = rule(case, "dummy")
    assert not found.passed and "does not beat the dummy baseline's" in found.detail, "whatever training says of it"
    assert found.limit == pytest.approx(0, abs=1e-12)
    assert rule(evidence(TARGET, GOOD, dummy=mean, changes={"baselines": {}}), "dummy").passed


def test_a_baseline_that_there_is_not_says_nothing() -> None:
    one_class = said(shares(np.full(200, 0.3)))
    for problem, dummy in ((classification("accuracy"), None), (classification("roc_auc", "accuracy"), one_class)):
        labels = LABELS if dummy is None else np.zeros(200, bool)
        decision = decide(*evidence(labels, said(shares(SURE)), problem=problem, dummy=dummy))
        assert "dummy" not in {r.kind for r in decision.rules}


@pytest.mark.parametrize(
    ("mean", "sd", "passed"),
    [(0.9, 0.02, True), (0.99, 0.0001, True), (0.1, 0.05, False), (0.1, 0.5, True), (math.nan, math.nan, True)],
)
def test_better_on_the_holdout_than_cross_validation_explains(mean: float, sd: float, passed: bool) -> None:
    found = rule(evidence(TARGET, GOOD, changes={"spread": {"r2": Spread(mean=mean, sd=sd)}}), "plausible")
    assert found.passed == passed and found.required
    assert passed or "the model may know the rows" in found.detail


def test_training_that_leaves_out_its_cross_validation_is_not_believed() -> None:
    without = evidence(TARGET, GOOD, changes={"spread": {"mae": Spread(mean=0.1, sd=0.1)}})
    found = rule(without, "plausible")
    assert not found.passed and found.required and "nothing of r2 in cross-validation" in found.detail
    untold = evidence(TARGET, GOOD, changes={"spread": {"r2": Spread(mean=math.nan, sd=math.nan)}})
    assert "r2 is no number in cross-validation" in rule(untold, "plausible").detail


def test_all_right_on_few_rows_is_plausible() -> None:
    labels = np.arange(30) % 3 == 0
    case = evidence(
        labels, said(shares(np.where(labels, 0.9, 0.1))), problem=classification(),
        changes={"spread": {"accuracy": Spread(mean=0.97, sd=0.002)}},
    )  # fmt: skip
    assert rule(case, "plausible").passed


@pytest.mark.parametrize("others", [0, 1])
def test_one_answer_for_every_row_of_unbalanced_classes(others: int) -> None:
    labels = np.arange(1000) < 300
    positive = np.where(np.arange(1000) < others, 0.9, 0.1)
    found = rule(evidence(labels, said(shares(positive)), problem=classification()), "constant")
    assert not found.passed and f"answers False for {1000 - others} of 1000 rows" in found.detail


def test_a_rare_class_that_no_probability_reaches_one_half_of_is_no_constant_where_probabilities_are_judged() -> None:
    labels = np.arange(400) < 8
    positive = np.where(labels, 0.2, np.linspace(0.01, 0.3, 400))
    for metric, passed in (("roc_auc", True), ("log_loss", True), ("accuracy", False)):
        case = evidence(labels, said(shares(positive)), problem=classification(metric))
        assert rule(case, "constant").passed == passed
    flat = evidence(labels, said(shares(np.full(400, 0.02))), problem=classification("log_loss"))
    assert not rule(flat, "constant").passed


def test_one_value_for_every_row() -> None:
    assert not rule(evidence(TARGET, np.full(200, 0.3)), "constant").passed
    assert not rule(evidence(TARGET, np.where(np.arange(200) < 1, 9.0, 0.3)), "constant").passed
    mostly_none = np.where(np.arange(200) < 1, 5.0, 0.0)
    assert rule(evidence(mostly_none, mostly_none * 0.9), "constant").passed


def test_calibration_of_a_regression_is_its_bias() -> None:
    policy = Gate.model_validate({"calibration": {"max": 0.1}})
    assert rule(evidence(TARGET, GOOD, policy=policy), "calibration").passed
    off = rule(evidence(TARGET, GOOD + 0.5, policy=policy), "calibration")
    assert not off.passed and off.value == pytest.approx(abs(np.mean(GOOD + 0.5 - TARGET)) / np.std(TARGET))


@pytest.mark.parametrize(("level", "passed"), [("required", False), ("advisory", False)])
def test_calibration_of_a_classification(level: Any, passed: bool) -> None:
    labels = np.arange(1000) % 10 < 7  # 7 of 10 are positive, as an honest 0.7 says
    policy = Gate.model_validate({"calibration": {"max": 0.05, "level": level}})
    order = RNG.permutation(1000)
    honest = np.where(np.arange(1000) < 20, 0.3, 0.7)
    case = evidence(labels[order], said(shares(honest[order])), problem=classification("log_loss"), policy=policy)
    assert rule(case, "calibration").value == pytest.approx(0.0, abs=0.03)
    boast = np.where(honest > 0.5, 0.99, 0.01)
    case = evidence(labels[order], said(shares(boast[order])), problem=classification("log_loss"), policy=policy)
    found = rule(case, "calibration")
    assert found.passed == passed and found.value == pytest.approx(0.29, abs=0.03)


def test_calibration_does_not_depend_on_the_order_of_rows() -> None:
    policy = Gate.model_validate({"calibration": {"max": 0.5}})
    coarse = np.round(SURE, 1)
    values = set()
    for order in (np.arange(200), RNG.permutation(200)):
        case = evidence(LABELS[order], said(shares(coarse[order])), problem=classification(), policy=policy)
        values.add(round(rule(case, "calibration").value or 0, 12))
    assert len(values) == 1
