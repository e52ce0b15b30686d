"""What the policy asks of data and cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from noria.gate import decide
from noria.pipeline import Gate
from noria.records import Rule
from tests.support.candidates import SNAPSHOT, VALIDATION, evidence

TARGET = np.linspace(0.0, 10.0, 60)
GOOD = TARGET + np.tile([0.1, -0.2, 0.15], 20)


def judged(kind: str, policy: dict[str, Any], **changes: Any) -> tuple[str, Rule]:
    decision = decide(*evidence(TARGET, GOOD, policy=Gate.model_validate(policy), **changes))
    (rule,) = [rule for rule in decision.rules if rule.kind == kind]
    assert (rule.needed is None) == rule.passed
    return decision.verdict, rule


@pytest.mark.parametrize(("least", "verdict"), [(60, "promote"), (61, "reject")])
def test_enough_rows(least: int, verdict: str) -> None:
    found, rule = judged("rows", {"min_rows": least})
    assert found == verdict and (rule.value, rule.limit) == (60, least)


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        (None, "was not validated"),
        (VALIDATION.model_copy(update={"success": False}), "did not pass"),
        (VALIDATION.model_copy(update={"snapshot_id": "t"}), "is of snapshot t"),
    ],
)
def test_data_that_is_not_valid(validation: Any, words: str) -> None:
    verdict, rule = judged("validation", {}, validation=validation)
    assert verdict == "reject" and words in rule.detail
    assert judged("validation", {"validation": "advisory"}, validation=validation)[0] == "promote"


@pytest.mark.parametrize(("days", "verdict"), [(0.1, "promote"), (0.04, "reject")])
def test_fresh_data(days: float, verdict: str) -> None:
    found, rule = judged("freshness", {"freshness": {"max_days": days}}, snapshot=SNAPSHOT)
    assert found == verdict and rule.value == pytest.approx(1 / 24)


@pytest.mark.parametrize(
    ("kind", "limit", "changes"),
    [
        ("latency", "latency_milliseconds", {"challenger": {"latency_milliseconds": 5.0}}),
        ("model_size", "model_megabytes", {"challenger": {"model_bytes": 5_000_000}, "changes": {"model_bytes": 1}}),
        ("training_cost", "training_vcpu_seconds", {"challenger": {"training_vcpu_seconds": 5.0}}),
    ],
)
def test_what_a_model_may_cost(kind: str, limit: str, changes: dict[str, Any]) -> None:
    assert judged(kind, {"limits": {limit: {"max": 5}}}, **changes)[0] == "promote"
    verdict, rule = judged(kind, {"limits": {limit: {"max": 4.9999}}}, **changes)
    assert verdict == "reject" and "more than the 4.9999" in rule.detail and rule.value == 5
    assert judged(kind, {"limits": {limit: {"max": 4, "level": "advisory"}}}, **changes)[0] == "promote"


@pytest.mark.parametrize("limit", ["latency_milliseconds", "model_megabytes", "training_vcpu_seconds"])
def test_what_was_not_measured_does_not_pass(limit: str) -> None:
    decision = decide(*evidence(TARGET, GOOD, policy=Gate.model_validate({"limits": {limit: {"max": 5}}})))
    assert decision.verdict == "reject" and "was not measured" in decision.reasons[0]


def test_only_what_the_policy_asks_for_is_a_rule() -> None:
    kinds = {rule.kind for rule in decide(*evidence(TARGET, GOOD)).rules}
    assert not kinds & {"freshness", "latency", "model_size", "training_cost", "calibration", "threshold", "slice"}
