"""How often the gate is wrong: thousands of simulated pairs of models, judged by the real `gate.decide`.

Every pair predicts rows that it has not seen. What neither model can know (the noise of a regression, the coin of a
classification) is common to both, so their errors are correlated as those of real models are; what each gets wrong by
itself is drawn anew for each. Two models of one skill are exchangeable: neither is better in truth.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from noria.bench.gate.evidence import Question, classification, regression, said
from noria.models.metrics import Predictions, score
from noria.models.problem import Problem
from noria.pipeline import Gate, greater_is_better

T = TypeVar("T")
SEED = 20260301
ALPHA = 0.05
POWER = 0.8
SPREAD = 0.5
"""Standard deviation of what a model of the usual skill gets wrong by itself; 0 is a model that knows all there is."""
SPREADS = (SPREAD, 0.6, 0.7, 0.85, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)
_NOISE, _SIGNAL = 1.0, 2.0
_LARGE, _REPEATS = 250_000, 2
_CHUNK = 20
_EXACT, _FEWEST_DRAWS = "accuracy", 200
"""The metric that has an exact test: its verdict does not depend on the draws."""


@dataclass(frozen=True)
class Setting:
    """A primary metric and the size of the holdout."""

    metric: str
    rows: int

    @property
    def problem(self) -> Problem:
        """The problem with this metric alone."""
        make = regression if self.metric in ("r2", "mae", "rmse", "rae", "rse") else classification
        return make(self.metric)


@dataclass(frozen=True)
class Plan:
    """How much is simulated.

    Attributes:
        settings: With the number of pairs; the first one gives the headline.
        draws: Of the bootstrap.
        pilot: Pairs to find the difference at which claim and truth meet.
        families: Of fifty candidates each.
        curve: Pairs for each point of the power curve.
        worlds: Of sixty days, of each kind.
    """

    settings: tuple[tuple[Setting, int], ...]
    draws: int
    pilot: int
    families: int
    curve: int
    worlds: int


QUICK = Plan(
    settings=((Setting("r2", 300), 500), (Setting("accuracy", 300), 100), (Setting("log_loss", 300), 100)),
    draws=2000,
    pilot=20,
    families=20,
    curve=25,
    worlds=2,
)
FULL = Plan(
    settings=(
        (Setting("r2", 300), 4000),
        *((Setting("r2", rows), 1000) for rows in (50, 100)),
        (Setting("r2", 1000), 500),
        *((Setting("accuracy", rows), 1000) for rows in (100, 300)),
        (Setting("accuracy", 1000), 500),
        *((Setting(metric, 300), 1000) for metric in ("mae", "log_loss", "f1")),
        (Setting("roc_auc", 300), 300),
    ),
    draws=2000,
    pilot=50,
    families=200,
    curve=400,
    worlds=20,
)


class Look(NamedTuple):
    """One simulated judgement."""

    promoted: bool
    naive: bool
    """Whether the candidate's metric is the higher one."""
    claimed: float
    """The difference that the verdict says it could see, in the metric's unit."""


def draw(
    setting: Setting, seed: Sequence[int], champion: float = SPREAD, candidates: int = 1
) -> tuple[np.ndarray, list[Predictions]]:
    """Target and predictions of the champion, whose own errors have the spread `champion`, and of some candidates."""
    rng = np.random.default_rng(seed)
    spreads = [champion, *[SPREAD] * candidates]
    known = rng.normal(0, _SIGNAL, setting.rows)
    if setting.problem.task == "regression":
        target = known + rng.normal(0, _NOISE, setting.rows)
        return target, [known + spread * rng.normal(0, 1, setting.rows) for spread in spreads]
    coin = rng.random(setting.rows) < _sigmoid(known)
    return coin, [said(_sigmoid(known + 2 * spread * rng.normal(0, 1, setting.rows))) for spread in spreads]


def judge(setting: Setting, champion: float, draws: int, seed: Sequence[int]) -> Look:
    """One candidate against a champion whose own errors have some spread."""
    target, (theirs, ours) = draw(setting, seed, champion)
    return _look(setting, draws, target, theirs, ours, looks=0)


def judge_many(setting: Setting, looks: int, draws: int, seed: Sequence[int]) -> tuple[bool, bool]:
    """Whether any of some candidates of the champion's skill is promoted on the same rows; and by the naive rule."""
    target, (theirs, *candidates) = draw(setting, seed, candidates=looks)
    best, naive = _value(setting, target, theirs), False
    for i, ours in enumerate(candidates):
        if _value(setting, target, ours) <= best:
            continue  # a look as well, and no interval of a candidate that is behind lies above 0
        naive = True
        if _look(setting, draws, target, theirs, ours, looks=i).promoted:
            return True, naive
    return False, naive


def _value(setting: Setting, target: np.ndarray, said_of: Predictions) -> float:
    """The metric, the greater the better."""
    sign = 1 if greater_is_better(setting.metric) else -1
    return sign * score(setting.problem, target, said_of)[setting.metric]


def _look(
    setting: Setting, draws: int, target: np.ndarray, theirs: Predictions, ours: Predictions, *, looks: int
) -> Look:
    policy = Gate(alpha=ALPHA, draws=_FEWEST_DRAWS if setting.metric == _EXACT else draws)
    rows = hashlib.sha256(target.tobytes()).hexdigest()
    decision = Question(setting.problem, target, ours, theirs, policy, rows, looks).decide()
    assert decision.comparison is not None  # noqa: S101  there is a champion that predicts
    first = decision.comparison.intervals[0]
    return Look(decision.verdict == "promote", first.improvement > 0, first.detectable or math.nan)


@cache
def true_improvements(metric: str) -> tuple[float, ...]:
    """By how much the candidate is better in truth than a champion of each of SPREADS: on half a million rows."""
    setting, found = Setting(metric, _LARGE), []
    for spread in SPREADS:
        differences = []
        for repeat in range(_REPEATS):
            target, predictions = draw(setting, (SEED, 77, repeat), spread)
            theirs, ours = (_value(setting, target, p) for p in predictions)
            differences.append(ours - theirs)
        found.append(statistics.fmean(differences))
    return (0.0, *found[1:])


def champion_worse_by(metric: str, improvement: float) -> float:
    """Spread of a champion than which the candidate is better by so much in truth.

    Raises:
        ValueError: None is so bad.
    """
    found = true_improvements(metric)
    if improvement > found[-1]:
        raise ValueError(f"no champion is worse in {metric} by {improvement:.3g}; at most by {found[-1]:.3g}")
    return float(np.interp(improvement, found, SPREADS))


def where_claim_is_truth(setting: Setting, draws: int, trials: int, pool: Pool) -> tuple[float, float]:
    """The point at which what a verdict says it could see, on average, is what there is.

    Returns:
        Spread of the champion there, and the claim.
    """
    spread, claimed = SPREAD, math.nan
    for step in range(4):
        looks = pool.map(partial(judge, setting, spread, draws), (setting.rows, 1000 + step), trials)
        claimed = statistics.fmean(look.claimed for look in looks)
        spread = champion_worse_by(setting.metric, claimed)
    return spread, claimed


class Pool:
    """Trials on all processors; a trial's seed follows from its place, so the count of processors changes nothing."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def map(self, trial: Callable[[Sequence[int]], T], place: Sequence[int], count: int) -> list[T]:
        """Results of `count` trials of one place in the measurement, in order."""
        starts = range(0, count, _CHUNK)
        chunks = self._executor.map(
            partial(_chunk, trial, tuple(place)), starts, [min(_CHUNK, count - start) for start in starts]
        )
        return [result for chunk in chunks for result in chunk]


def _chunk(trial: Callable[[Sequence[int]], T], place: tuple[int, ...], start: int, count: int) -> list[T]:
    return [trial((SEED, *place, i)) for i in range(start, start + count)]


def share(hits: Iterable[bool]) -> tuple[float, float]:
    """How often something happened, with the standard error."""
    values = list(hits)
    found = sum(values) / len(values)
    return found, math.sqrt(max(found * (1 - found), 1 / len(values)) / len(values))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    values: np.ndarray = 1 / (1 + np.exp(-x))
    return values


def characteristics(plan: Plan, pool: Pool, tell: Callable[[str], None]) -> dict[str, Any]:
    """How often the gate is wrong, and how often it sees what is there.

    Returns:
        The figures of the first setting under their plain names, all settings under `characteristics`, the chance of
        any of 50 equal candidates under `fifty_looks`, and the power by true difference under `power_curve`.
    """
    table = []
    for setting, trials in plan.settings:
        table.append(_row(setting, trials, plan, pool))
        tell("{metric}, {rows} rows: {false_promotion_rate:.3f} of equal models promoted, naive "
             "{naive_false_promotion_rate:.3f}, power {power:.3f} at {detectable:.3g}".format(**table[-1]))  # fmt: skip
    first = table[0]
    named = {key: first[key] for key in first if key not in ("metric", "rows")}
    return {
        **named,
        "alpha": ALPHA,
        "seed": SEED,
        "draws": plan.draws,
        "characteristics": table,
        "fifty_looks": _fifty(plan, pool, tell),
        "power_curve": _curve(first, plan, pool, tell),
    }


def _row(setting: Setting, trials: int, plan: Plan, pool: Pool) -> dict[str, Any]:
    equal = pool.map(partial(judge, setting, SPREAD, plan.draws), (setting.rows, 1), trials)
    wrong, wrong_se = share(look.promoted for look in equal)
    naive, naive_se = share(look.naive for look in equal)
    spread, claimed = where_claim_is_truth(setting, plan.draws, plan.pilot, pool)
    better = pool.map(partial(judge, setting, spread, plan.draws), (setting.rows, 2), trials // 2)
    power, power_se = share(look.promoted for look in better)
    return {
        "metric": setting.metric,
        "rows": setting.rows,
        "trials": trials,
        "false_promotion_rate": wrong,
        "false_promotion_rate_se": wrong_se,
        "naive_false_promotion_rate": naive,
        "naive_false_promotion_rate_se": naive_se,
        "power": power,
        "power_se": power_se,
        "power_trials": trials // 2,
        "detectable": claimed,
    }


def _fifty(plan: Plan, pool: Pool, tell: Callable[[str], None]) -> dict[str, Any]:
    setting = plan.settings[0][0]
    families = pool.map(partial(judge_many, setting, 50, plan.draws), (setting.rows, 50), plan.families)
    any_promoted, error = share(promoted for promoted, _ in families)
    naive, _ = share(naive for _, naive in families)
    tell(
        f"fifty equal candidates on the same rows: one is promoted in {any_promoted:.3f} of the cases, "
        f"naive {naive:.3f}"
    )
    return {
        "metric": setting.metric,
        "rows": setting.rows,
        "looks": 50,
        "families": plan.families,
        "false_promotion_rate": any_promoted,
        "false_promotion_rate_se": error,
        "naive_false_promotion_rate": naive,
    }


def _curve(first: dict[str, Any], plan: Plan, pool: Pool, tell: Callable[[str], None]) -> list[dict[str, float]]:
    """How often a candidate that is better by so much is promoted."""
    setting = Setting(first["metric"], first["rows"])
    points = []
    for times in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0):
        improvement = times * first["detectable"]
        spread = champion_worse_by(setting.metric, improvement)
        looks = pool.map(partial(judge, setting, spread, plan.draws), (setting.rows, 3, round(100 * times)), plan.curve)
        promoted, error = share(look.promoted for look in looks)
        naive, _ = share(look.naive for look in looks)
        points.append({"improvement": improvement, "promoted": promoted, "promoted_se": error, "naive": naive})
    tell("power by difference: " + ", ".join(f"{p['improvement']:.3g}: {p['promoted']:.2f}" for p in points))
    return points
