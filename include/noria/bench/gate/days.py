"""Sixty simulated days of a pipeline whose world drifts: the gate beside other ways to choose the champion.

The truth is linear with coefficients that walk a little every day and jump once; it is known, so a model's mean squared
error on a day is computed and not estimated. Rows arrive on five days of seven and stay in the source for three weeks;
a share of them is the holdout, chosen once for each row. A ridge regression is trained every day on a random part of
the training rows, so on the two quiet days the candidates differ by luck alone and are judged on the same rows again.
All ways see the same candidates.

There are two kinds of world. In a steady one every training is sound. In one with mishaps one training in twenty is
not: it gets to see only some of the features, as after a join that failed upstream.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from noria.bench.gate.evidence import Question, regression
from noria.bench.gate.luck import Pool
from noria.models.metrics import score
from noria.pipeline import Gate

DAYS, JUMP_DAY = 60, 30
_FEATURES, _ROWS_A_DAY, _WINDOW_DAYS = 8, 60, 21
_HOLDOUT_SHARE, _PART = 0.3, 0.8
_WALK, _JUMP, _NOISE = 0.02, 0.35, 1.0
_MISHAPS, _LOST_FEATURES = 0.05, 3
_SOON_DAYS = 2
_PROBLEM = regression("r2", "mae")


class Rows(NamedTuple):
    """What arrived up to a day."""

    x: np.ndarray
    y: np.ndarray
    held: np.ndarray
    day: np.ndarray

    def take(self, mask: np.ndarray) -> Rows:
        """Those where the mask is true."""
        return Rows(*(values[mask] for values in self))


@dataclass
class Keeper:
    """One way to choose, and the champions that it had.

    Attributes:
        name: For people.
        champions: Day of birth of each day's champion.
    """

    name: str
    champions: list[int] = field(default_factory=list)
    _looks: dict[tuple[int, str], int] = field(default_factory=dict)

    def choose(self, today: int, models: Sequence[np.ndarray], holdout: Rows) -> None:
        """Take today's candidate or stay with the champion."""
        if not self.champions or self._takes(models[today], models[self.champions[-1]], holdout):
            self.champions.append(today)
        else:
            self.champions.append(self.champions[-1])

    def _takes(self, ours: np.ndarray, theirs: np.ndarray, rows: Rows) -> bool:
        if self.name in ("always", "never"):
            return self.name == "always"
        candidate, champion = rows.x @ ours, rows.x @ theirs
        if self.name == "higher metric":
            told = [score(_PROBLEM, rows.y, p)["r2"] for p in (candidate, champion)]
            return told[0] > told[1]
        holdout = hashlib.sha256(rows.x.tobytes()).hexdigest()
        place = (self.champions[-1], holdout)
        looks = self._looks.get(place, 0)
        self._looks[place] = looks + 1
        return Question(_PROBLEM, rows.y, candidate, champion, Gate(), holdout, looks).decide().verdict == "promote"


KEEPERS = ("gate", "higher metric", "always", "never")


class Told(NamedTuple):
    """What became of one way in one world.

    Attributes:
        changes: How often the champion was another one than the day before.
        flip_flops: Changes that ended a champion which had reigned for two days or less.
        harmful_changes: Changes to a model that was worse in truth on that day.
        regret: Mean squared error of the champion above that of the day's best model, on average over the days.
        champions: Day on which each day's champion was trained.
        regrets: Of each day.
    """

    changes: int
    flip_flops: int
    harmful_changes: int
    regret: float
    champions: tuple[int, ...]
    regrets: tuple[float, ...]


def live(mishaps: float, seed: Sequence[int]) -> dict[str, Told]:
    """Sixty days in one world, in which this share of the trainings goes wrong."""
    rng, luck = (np.random.default_rng((*seed, part)) for part in (1, 2))
    truths = _truths(rng)
    keepers = [Keeper(name) for name in KEEPERS]
    rows, models = _before(truths[0], rng), list[np.ndarray]()
    for today in range(DAYS):
        if today % 7 < 5:
            rows = _join(rows, _arrive(truths[today], _ROWS_A_DAY, today, rng))
        rows = rows.take(rows.day > today - _WINDOW_DAYS)
        lost = luck.permutation(_FEATURES)[:_LOST_FEATURES] if luck.random() < mishaps and today else None
        models.append(_fit(rows.take(~rows.held), rng, lost))
        for keeper in keepers:
            keeper.choose(today, models, rows.take(rows.held))
    errors = np.array([[_error(model, truth) for truth in truths] for model in models])  # by model, by day
    return {keeper.name: _told(keeper.champions, errors) for keeper in keepers}


def sixty_days(worlds: int, pool: Pool, tell: Callable[[str], None]) -> dict[str, Any]:
    """Both kinds of world, several of each; and the first world with mishaps day by day, for a chart."""
    result: dict[str, Any] = {"days": DAYS, "jump_day": JUMP_DAY, "worlds": worlds}
    for kind, mishaps in (("steady", 0.0), ("mishaps", _MISHAPS)):
        lives = pool.map(partial(live, mishaps), (60,), worlds)
        result[kind] = {_key(name): _summary([life[name] for life in lives]) for name in KEEPERS}
        for name in KEEPERS:
            told = result[kind][_key(name)]
            tell(
                f"sixty days, {kind}, {name}: {told['champion_changes']['mean']:.1f} changes, "
                f"{told['harmful_changes']['mean']:.1f} for the worse, regret {told['regret']['mean']:.3f}"
            )
    result["timeline"] = {
        _key(name): {"champions": list(told.champions), "regret": [round(r, 5) for r in told.regrets]}
        for name, told in lives[0].items()
    }
    return result


def _key(name: str) -> str:
    return name.replace(" ", "_")


def _summary(told: list[Told]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over worlds."""
    return {
        "champion_changes": _spread([t.changes for t in told]),
        "flip_flops": _spread([t.flip_flops for t in told]),
        "harmful_changes": _spread([t.harmful_changes for t in told]),
        "regret": _spread([t.regret for t in told]),
    }


def _told(champions: list[int], errors: np.ndarray) -> Told:
    """Regret of a day: the champion's error above that of the best model that had been trained by then."""
    regrets = [errors[c, day] - errors[: day + 1, day].min() for day, c in enumerate(champions)]
    changes = [day for day in range(1, len(champions)) if champions[day] != champions[day - 1]]
    return Told(
        changes=len(changes),
        flip_flops=sum(1 for day in changes if day - champions[day - 1] <= _SOON_DAYS and champions[day - 1] > 0),
        harmful_changes=sum(1 for day in changes if errors[champions[day], day] > errors[champions[day - 1], day]),
        regret=statistics.fmean(regrets),
        champions=tuple(champions),
        regrets=tuple(float(r) for r in regrets),
    )


def _truths(rng: np.random.Generator) -> list[np.ndarray]:
    truth, truths = rng.normal(0, 0.7, _FEATURES), []
    for day in range(DAYS):
        truth = truth + rng.normal(0, _JUMP if day == JUMP_DAY else _WALK, _FEATURES)
        truths.append(truth)
    return truths


def _before(truth: np.ndarray, rng: np.random.Generator) -> Rows:
    """The three weeks before the first day."""
    return _arrive(truth, _ROWS_A_DAY * _WINDOW_DAYS * 5 // 7, -1, rng, spread_days=_WINDOW_DAYS)


def _arrive(truth: np.ndarray, count: int, day: int, rng: np.random.Generator, spread_days: int = 1) -> Rows:
    x = rng.normal(0, 1, (count, _FEATURES))
    y = x @ truth + rng.normal(0, _NOISE, count)
    return Rows(x, y, rng.random(count) < _HOLDOUT_SHARE, day - rng.integers(0, spread_days, count))


def _join(old: Rows, new: Rows) -> Rows:
    return Rows(*(np.concatenate(pair) for pair in zip(old, new, strict=True)))


def _fit(rows: Rows, rng: np.random.Generator, lost: np.ndarray | None) -> np.ndarray:
    """Ridge regression on a random part of the rows, without the features that were lost; the coefficients."""
    part = rows.take(rng.random(len(rows.y)) < _PART)
    x = part.x.copy()
    if lost is not None:
        x[:, lost] = 0.0
    coefficients: np.ndarray = np.linalg.solve(x.T @ x + np.eye(_FEATURES), x.T @ part.y)
    return coefficients


def _error(model: np.ndarray, truth: np.ndarray) -> float:
    """Mean squared error on all rows that a day could bring: the features are independent with unit variance."""
    return float(np.sum((model - truth) ** 2)) + _NOISE**2


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values)}
