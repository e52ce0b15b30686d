"""Intervals against the definition, and how often they err."""

from __future__ import annotations

import itertools
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from scipy import stats

from noria.gate import decide
from noria.gate.case import Pair, take
from noria.gate.comparison import alpha_spent, compare, differences
from noria.gate.discordance import exact
from noria.gate.influence import influence
from noria.gate.resampling import resample
from noria.gate.swapping import contributions, swapped
from noria.gate.words import improvement
from noria.models.metrics import Predictions, score
from noria.models.problem import Problem
from noria.pipeline import METRICS, Gate
from tests.support.candidates import classification, evidence, regression, said

REGRESSION = regression(*(name for name, (task, _greater) in METRICS.items() if task == "regression"))
NAMES = tuple(name for name, (task, _greater) in METRICS.items() if task == "classification")


def a_regression(rng: np.random.Generator, rows: int, noise: float = 1.1) -> Pair:
    target = rng.normal(size=rows)
    ours, theirs = target + rng.normal(0, 0.5, rows), target + noise * rng.normal(0, 0.5, rows)
    return Pair(REGRESSION, target, ours, theirs, np.arange(rows)).ordered()


def a_classification(rng: np.random.Generator, rows: int, classes: tuple[Any, ...] = (False, True)) -> Pair:
    """Probabilities with two digits, so that some are equal."""
    actual = np.concatenate((np.arange(len(classes)), rng.integers(0, len(classes), rows - len(classes))))
    seen = np.eye(len(classes))[actual] + rng.normal(0, 0.7, (rows, len(classes)))

    def guess() -> np.ndarray:
        odds = np.exp(seen + rng.normal(0, 0.7, seen.shape))
        shares: np.ndarray = np.round(odds / odds.sum(axis=1, keepdims=True), 2)
        return shares

    problem = classification(*NAMES, classes=classes)
    return Pair(problem, np.array(classes)[actual], said(guess()), said(guess()), np.arange(rows)).ordered()


PAIRS = {
    "regression": lambda rng: a_regression(rng, 60),
    "two classes": lambda rng: a_classification(rng, 60),
    "three classes": lambda rng: a_classification(rng, 90, ("a", "b", "c")),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_every_draw_is_what_the_metric_says_of_the_rows_drawn(kind: str) -> None:
    pair, draws = PAIRS[kind](np.random.default_rng(1)), 8
    found = resample(pair, {metric: differences(pair, metric) for metric in pair.problem.metrics}, draws, "seed")
    rng = np.random.Generator(np.random.SFC64(int.from_bytes(sha256(b"seed").digest()[:16])))
    by_hand = [pair.take(drawn).metrics for drawn in rng.integers(0, len(pair), (draws, len(pair)))]
    for metric in pair.problem.metrics:
        wanted = [improvement(ours[metric], theirs[metric], metric) for ours, theirs in by_hand]
        assert found[metric].improvements == pytest.approx(np.array(wanted), abs=2e-6), metric


@pytest.mark.parametrize("kind", PAIRS)
def test_influences_are_what_a_row_more_would_change(kind: str) -> None:
    pair = PAIRS[kind](np.random.default_rng(2))
    times = 2000
    for metric in pair.problem.metrics:
        moved = influence(pair.problem, metric, pair.target, pair.candidate)
        assert moved.mean() == pytest.approx(0, abs=1e-9)
        base = _metric(pair.problem, metric, pair.target, pair.candidate, np.full(len(pair), times))
        for row in (0, 17, 41):
            weights = np.full(len(pair), times)
            weights[row] += times // 20
            share = (times // 20) / weights.sum()
            changed = _metric(pair.problem, metric, pair.target, pair.candidate, weights)
            assert (changed - base) / share == pytest.approx(moved[row], rel=0.08, abs=0.02), metric


def _metric(problem: Problem, metric: str, target: np.ndarray, predictions: Predictions, weights: np.ndarray) -> float:
    rows = np.repeat(np.arange(len(target)), weights // 100)
    return score(problem, target[rows], take(predictions, rows))[metric]


@pytest.mark.parametrize("kind", PAIRS)
def test_rows_contribute_what_the_improvement_is(kind: str) -> None:
    pair = PAIRS[kind](np.random.default_rng(3))
    ours, theirs = pair.metrics
    for metric in pair.problem.metrics:
        parts = contributions(pair, metric)
        assert parts.mean() == pytest.approx(improvement(ours[metric], theirs[metric], metric), abs=0.004), metric
        back = Pair(pair.problem, pair.target, pair.champion, pair.candidate, pair.rows)
        assert contributions(back, metric) == pytest.approx(-parts, abs=1e-12)


def test_swapped_answers_are_a_toss_of_a_coin() -> None:
    pair = a_regression(np.random.default_rng(4), 12)
    parts = contributions(pair, "mae") / 12
    every = np.array([np.dot(signs, parts) for signs in itertools.product((-1, 1), repeat=12)])
    drawn = swapped(pair, ["mae"], 20_000, "s")["mae"]
    assert np.quantile(drawn, (0.05, 0.5, 0.95)) == pytest.approx(np.quantile(every, (0.05, 0.5, 0.95)), abs=0.01)


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (5, 0), (8, 1), (30, 18), (3, 9)])
def test_the_exact_test_is_the_binomial_one(won: int, lost: int) -> None:
    found = exact(won, lost, 200, margin=0.0, alpha=0.03)
    wanted = stats.binomtest(won, won + lost, 0.5, alternative="greater").pvalue if won + lost else 1.0
    assert found.p_value == pytest.approx(wanted)
    assert (found.low > 0) == (found.p_value < 0.03)
    assert found.low <= found.improvement <= found.high


def test_what_the_exact_test_calls_detectable_it_detects() -> None:
    rng, rows = np.random.default_rng(6), 150
    share, found = 0.2, exact(15, 15, 150, margin=0.0, alpha=0.03).detectable
    split = rng.binomial(rows, share, 4000)
    won = rng.binomial(split, 0.5 * (1 + found / share))
    shown = stats.binom.sf(won - 1, split, 0.5) <= 0.03
    assert 0.78 < shown.mean() < 0.84
    assert exact(15, 15, 1500, margin=0.0, alpha=0.03).detectable < found


@pytest.mark.parametrize("kind", PAIRS)
def test_an_interval_lies_around_the_improvement_and_says_whether_it_is_luck(kind: str) -> None:
    pair = PAIRS[kind](np.random.default_rng(7))
    for looks in (0, 30):
        comparison = compare(pair, Gate(), "h", looks=looks, leaked_rows=0)
        assert [i.metric for i in comparison.intervals] == list(pair.problem.metrics)
        for found in comparison.intervals:
            assert found.low <= found.improvement <= found.high
            assert (found.low > 0) == (found.p_value <= comparison.alpha_spent)
            assert found.detectable is not None and found.detectable > 0


def test_the_same_evidence_gives_the_same_numbers_and_another_holdout_others() -> None:
    pair = a_regression(np.random.default_rng(8), 60)
    one, again, other = (compare(pair, Gate(), name, looks=0, leaked_rows=0) for name in ("h", "h", "g"))
    assert one == again and one.intervals[0].low != other.intervals[0].low


def test_many_rows_and_the_normal_distribution_agree() -> None:
    pair = a_regression(np.random.default_rng(9), 5000)
    for found in compare(pair, Gate(), "h", looks=0, leaked_rows=0).intervals:
        error = differences(pair, found.metric).std() / np.sqrt(5000)
        reach = stats.norm.isf(alpha_spent(0.05, 1)) * error
        assert found.improvement - found.low == pytest.approx(reach, rel=0.12)
        assert found.high - found.improvement == pytest.approx(reach, rel=0.12)


def _promoted(make: Any, trials: int) -> int:
    return sum(decide(*make(np.random.default_rng([12, trial]))).verdict == "promote" for trial in range(trials))


def _skewed(rng: np.random.Generator, edge: float) -> Any:
    """Two models whose errors are independent and have a long tail on one side."""
    target = 3 * rng.normal(size=30)
    ours, theirs = (target + scale * (rng.exponential(size=30) - 1) for scale in (1 - edge, 1.0))
    return evidence(target, ours, theirs, problem=regression("mae"), policy=Gate(draws=400))


def _rare(rng: np.random.Generator, edge: float) -> Any:
    """Two classifiers of a class that is one row in five."""
    labels = np.arange(100) < 20
    seen = labels + rng.normal(0, 0.4, 100)
    ours, theirs = (1 / (1 + np.exp(3 - 6 * (seen + rng.normal(0, 0.3 * scale, 100)))) for scale in (1 - edge, 1.0))
    sides = (said(np.column_stack((1 - p, p))) for p in (ours, theirs))
    return evidence(labels, *sides, problem=classification("balanced_accuracy"), policy=Gate(draws=400))


@pytest.mark.parametrize("make", [_skewed, _rare])
def test_an_equal_model_is_promoted_as_rarely_as_alpha_says(make: Any) -> None:
    """With a chance of at most 0.05, more than 17 of 200 have a chance below 1 in 100."""
    assert stats.binom.sf(17, 200, 0.05) < 0.02
    assert _promoted(lambda rng: make(rng, 0.0), 200) <= 17


def test_a_much_better_model_is_promoted() -> None:
    assert _promoted(lambda rng: _skewed(rng, 0.7), 60) >= 50


def test_of_fifty_lucky_seeds_none_gets_through() -> None:
    """Equal candidates, one after the other against the same champion; the naive rule would take about half of them."""
    rng = np.random.default_rng(13)
    target = rng.normal(size=80)
    champion = target + rng.normal(0, 0.5, 80)
    naive = promoted = 0
    for looks in range(50):
        ours = target + rng.normal(0, 0.5, 80)
        case = evidence(target, ours, champion, problem=regression("rmse"), looks=looks, policy=Gate(draws=400))
        decision = decide(*case)
        promoted += decision.verdict == "promote"
        naive += decision.candidate_metrics["rmse"] < score(regression("rmse"), target, champion)["rmse"]
    assert promoted == 0 and naive >= 5


def test_who_looks_for_a_split_is_not_promoted_more_often_than_alpha() -> None:
    """Fifty models that are no better, each on rows of its own: all looks at the champion count, and not one each."""
    rng, trials = np.random.default_rng(11), 12

    def promoted(found: np.ndarray, alpha: float) -> bool:
        better, worse = int((found[0] & ~found[1]).sum()), int((found[1] & ~found[0]).sum())
        if better - worse <= (better + worse) ** 0.5:  # less than a standard error: no need to ask
            return False
        return exact(better, worse, 120, margin=0, alpha=alpha).low > 0

    splits = rng.random((trials, 50, 2, 120)) < 0.7
    counted = [any(promoted(pair, alpha_spent(0.05, n + 1)) for n, pair in enumerate(each)) for each in splits]
    alone = [any(promoted(pair, alpha_spent(0.05, 1)) for pair in each) for each in splits]
    assert sum(counted) <= 1 and sum(alone) >= trials / 2, (counted, alone)
