"""No declared group of rows may get much worse, however good the mean is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from noria.gate import Champion, decide
from noria.pipeline import Gate
from noria.records import Decision
from tests.support.candidates import evidence, regression

ROWS = 400
RNG = np.random.default_rng(2)
TARGET = RNG.normal(size=ROWS)
SOIL = np.where(np.arange(ROWS) % 8 == 0, "clay", "loam")
THEIRS = TARGET + RNG.normal(0, 0.5, ROWS)
MUCH_BETTER_BUT_ON_CLAY = TARGET + np.where(SOIL == "clay", 1.2, 0.1) * np.sign(RNG.normal(size=ROWS))


def judged(ours: np.ndarray, *, champion: Any = THEIRS, **declared: Any) -> Decision:
    policy = Gate.model_validate({"slices": [{"column": "soil", **declared}]})
    return decide(*evidence(TARGET, ours, champion, problem=regression("mae"), policy=policy, slices={"soil": SOIL}))


def test_a_better_mean_with_one_slice_far_worse_is_rejected() -> None:
    decision = judged(MUCH_BETTER_BUT_ON_CLAY)
    assert decision.verdict == "reject" and len(decision.reasons) == 1
    assert decision.reasons[0].startswith("where soil is clay (50 rows), mae is ")
    clay, loam = decision.slices
    assert not clay.passed and loam.passed and clay.rows + loam.rows == ROWS
    assert clay.candidate == pytest.approx(1.2) and clay.improvement is not None and clay.champion is not None
    assert clay.champion == pytest.approx(np.mean(np.abs(TARGET - THEIRS)[SOIL == "clay"]))
    assert clay.low is not None and clay.high is not None and clay.low < clay.improvement < clay.high < 0
    assert judged(TARGET + 0.1).verdict == "promote"


@pytest.mark.parametrize("declared", [{"margin": 2.0}, {"min_rows": 51}, {"level": "advisory"}])
def test_what_a_policy_allows_a_slice(declared: dict[str, Any]) -> None:
    decision = judged(MUCH_BETTER_BUT_ON_CLAY, **declared)
    assert decision.verdict == "promote"
    (rule,) = [rule for rule in decision.rules if rule.kind == "slice"]
    assert rule.passed == ("level" not in declared)
    assert [s.judged for s in decision.slices] == ["min_rows" not in declared, True]


def test_rows_that_the_champion_has_seen_are_in_no_slice() -> None:
    champion = Champion("1", THEIRS, seen=SOIL == "clay")
    decision = judged(MUCH_BETTER_BUT_ON_CLAY, champion=champion)
    assert [s.value for s in decision.slices] == ["loam"]


def test_without_a_champion_slices_are_shown_and_not_judged() -> None:
    decision = judged(MUCH_BETTER_BUT_ON_CLAY, champion=None)
    assert decision.verdict == "promote"
    assert [(s.value, s.judged, s.improvement) for s in decision.slices] == [
        ("clay", False, None),
        ("loam", False, None),
    ]


@pytest.mark.parametrize(
    ("champion", "words"),
    [
        (Champion("7", problem="its file is gone"), "version 7: its file is gone"),
        (Champion("7", THEIRS, seen=np.arange(ROWS) >= 20), "version 7: too few rows"),
    ],
)
def test_slices_that_cannot_be_compared_with_the_champions_do_not_pass(champion: Champion, words: str) -> None:
    policy = Gate.model_validate({"beat_champion": "advisory", "slices": [{"column": "soil"}]})
    case = evidence(TARGET, TARGET + 0.1, champion, problem=regression("mae"), policy=policy, slices={"soil": SOIL})
    decision = decide(*case)
    assert decision.verdict == "reject" and len(decision.reasons) == 1
    assert "cannot be compared with those of champion " + words in decision.reasons[0]


def test_slices_are_no_fault_of_the_candidate_where_the_champion_cannot_be_held_against_it() -> None:
    policy = Gate.model_validate({"slices": [{"column": "soil"}]})
    case = evidence(
        TARGET, TARGET + 0.1, Champion("7", problem="its file is gone"), policy=policy, slices={"soil": SOIL}
    )
    decision = decide(*case)
    assert decision.verdict == "keep"
    assert [rule.kind for rule in decision.rules if not rule.passed] == ["champion", "slice"]


def test_a_column_that_nobody_brought_does_not_pass() -> None:
    policy = Gate.model_validate({"slices": [{"column": "farmer"}]})
    decision = decide(*evidence(TARGET, TARGET + 0.1, policy=policy, slices={"soil": SOIL}))
    assert decision.verdict == "reject" and "nothing of column farmer" in decision.reasons[0]


def test_of_many_values_those_that_fail_are_shown() -> None:
    many = np.array([f"v{i // 2:03d}" for i in range(ROWS)])
    worse = TARGET + np.where(np.arange(ROWS) < 2, 5.0, 0.1)
    policy = Gate.model_validate({"slices": [{"column": "plot", "min_rows": 2}]})
    decision = decide(*evidence(TARGET, worse, THEIRS, policy=policy, slices={"plot": many}, problem=regression("mae")))
    assert len(decision.slices) == 100 and not decision.slices[0].passed and decision.slices[0].value == "v000"
