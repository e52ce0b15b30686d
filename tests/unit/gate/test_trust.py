"""Evidence that cannot be believed is refused, whatever the model is worth."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from noria.gate import decide
from noria.models.metrics import Predicted
from noria.pipeline import Gate
from noria.records import policy_digest
from tests.support.candidates import NOW, SNAPSHOT, classification, evidence, said

TARGET = np.linspace(0.0, 10.0, 60)
GOOD = TARGET + np.tile([0.1, -0.2, 0.15], 20)


def reasons(**changes: Any) -> tuple[str, ...]:
    """Of a good model that something is wrong with; it must be rejected, and for one reason."""
    decision = decide(*evidence(TARGET, changes.pop("predictions", GOOD), **changes))
    failed = {rule.kind for rule in decision.rules if not rule.passed and rule.kind != "champion"}
    assert decision.verdict == "reject" and len(failed) == 1, decision.reasons
    assert all(rule.needed for rule in decision.rules if not rule.passed)
    return (*failed, *decision.reasons)


def test_nothing_is_wrong_with_the_evidence_that_the_tests_begin_with() -> None:
    decision = decide(*evidence(TARGET, GOOD))
    assert decision.verdict == "promote" and all(rule.passed for rule in decision.rules)
    assert all(rule.needed is None for rule in decision.rules)


def test_what_was_written_around_the_gate() -> None:
    kind, words = reasons(registry_findings=("version 4 bears no verdict",))
    assert (kind, words) == ("registry", "version 4 bears no verdict")


@pytest.mark.parametrize("known", ["newest", "snapshot"])
def test_a_clock_that_is_behind_what_has_happened(known: str) -> None:
    then = NOW + timedelta(minutes=6)
    changes = {"newest": then} if known == "newest" else {"snapshot": SNAPSHOT.model_copy(update={"fetched_at": then})}
    kind, words = reasons(**changes)
    assert kind == "clock" and "360 s before" in words


def test_a_clock_may_differ_a_little() -> None:
    decision = decide(*evidence(TARGET, GOOD, newest=NOW + timedelta(minutes=4)))
    assert decision.verdict == "promote"


@pytest.mark.parametrize(("ahead", "words"), [(6, "360 s ahead of the lake"), (-6, "360 s behind the lake")])
def test_a_clock_that_is_not_the_lake_s(ahead: int, words: str) -> None:
    kind, reason = reasons(lake_now=NOW - timedelta(minutes=ahead))
    assert kind == "clock" and words in reason


def test_a_right_clock_is_told_the_way_out_of_an_entry_of_the_future() -> None:
    decision = decide(*evidence(TARGET, GOOD, newest=NOW + timedelta(days=400), lake_now=NOW))
    (rule,) = [r for r in decision.rules if not r.passed]
    assert rule.needed is not None and "`noria rollback p --to VERSION --reason TEXT`" in rule.needed


def test_measures_that_an_override_changed() -> None:
    kind, words = reasons(overridden=("metrics", "expectations"))
    assert kind == "policy" and "another value of metrics, expectations than the pipeline's folder" in words
    dry = decide(*evidence(TARGET, GOOD, overridden=("metrics",), policy=Gate(mode="dry_run")))
    assert dry.verdict == "promote" and [r.required for r in dry.rules if not r.passed] == [False]


def test_a_policy_that_was_changed_after_training() -> None:
    kind, words = reasons(changes={"policy_sha256": policy_digest(Gate(margin=0.5))})
    assert kind == "policy" and "changed between training and promotion" in words


@pytest.mark.parametrize(
    ("predictions", "words"),
    [
        (None, "there are no predictions"),
        (GOOD[:-1], "59 predictions for 60 rows"),
        (GOOD[:, None], "predictions of shape (60, 1) for 60 rows"),
        (np.where(np.arange(60) < 2, np.nan, GOOD), "2 of 60 predictions are not finite numbers"),
        (np.where(np.arange(60) < 1, np.inf, GOOD), "1 of 60 predictions are not finite numbers"),
        (said(np.full((60, 2), 0.5)), "they are not those of a regression"),
    ],
)
def test_predictions_that_are_none(predictions: Any, words: str) -> None:
    kind, reason = reasons(predictions=predictions)
    assert kind == "predictions" and words in reason


def test_predictions_that_follow_the_place_and_not_the_row() -> None:
    kind, words = reasons(challenger={"problem": "in another order it answers the same"})
    assert kind == "predictions" and "in another order" in words


@pytest.mark.parametrize(
    ("predictions", "words"),
    [
        (
            Predicted(np.full((40, 3), 1 / 3), np.zeros(40, int)),
            "predictions of shape (40, 3) for 40 rows and 2 classes",
        ),
        (Predicted(np.tile([0.5, 1.5], (40, 1)), np.zeros(40, int)), "probabilities reach from 0.5 to 1.5"),
        (Predicted(np.full((40, 2), 0.5), np.full(40, 2)), "a label is none of the 2 classes"),
        (Predicted(np.full((40, 2), 0.5), np.zeros(39, int)), "(39,) labels for 40 rows"),
    ],
)
def test_predictions_of_classes_that_are_none(predictions: Predicted, words: str) -> None:
    decision = decide(*evidence(np.arange(40) % 2 == 0, predictions, problem=classification()))
    assert decision.verdict == "reject" and words in decision.reasons[0]
    assert len(decision.reasons) == 1 and np.isnan(decision.candidate_metrics["accuracy"])


@pytest.mark.parametrize("count", [1, 60])
def test_rows_that_training_has_seen(count: int) -> None:
    kind, words = reasons(challenger={"seen": np.arange(60) < count}, policy=Gate(min_rows=10)) if count == 1 else (
        "leakage", decide(*evidence(TARGET, GOOD, challenger={"seen": np.ones(60, bool)})).reasons[0]
    )  # fmt: skip
    assert kind == "leakage" and words == f"training or tuning has seen {count} of the 60 holdout rows"


def test_not_to_know_what_training_has_seen_is_no_excuse() -> None:
    assert reasons(challenger={"seen": None})[0] == "leakage"
    assert reasons(challenger={"seen": np.zeros(3, bool)})[0] == "leakage"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"challenger": {"fit_rows_differ": "7 are gone"}}, "not those of the snapshot: 7 are gone"),
        ({"changes": {"snapshot_id": "t"}}, "trained on snapshot t, and is judged on snapshot s"),
        ({"changes": {"holdout_sha256": "g"}}, "held out other rows (g) than the snapshot (h)"),
    ],
)
def test_a_model_of_other_rows(changes: dict[str, Any], words: str) -> None:
    kind, reason = reasons(**changes)
    assert kind == "leakage" and words in reason


def test_two_faults_are_two_reasons() -> None:
    decision = decide(*evidence(TARGET, GOOD, registry_findings=("odd",), newest=NOW + timedelta(days=1)))
    assert len(decision.reasons) == 2


def test_a_key_of_a_later_release_changes_no_older_policy() -> None:
    class Later(Gate):
        quota: int = 5

    declared = {"margin": 0.1, "slices": [{"column": "soil"}]}
    assert policy_digest(Later.model_validate(declared)) == policy_digest(Gate.model_validate(declared))
    assert policy_digest(Later.model_validate(declared)) != policy_digest(Later(quota=6, margin=0.1))
    said = Gate.model_validate({**declared, "alpha": Gate().alpha})
    assert policy_digest(said) == policy_digest(Gate.model_validate(declared))
