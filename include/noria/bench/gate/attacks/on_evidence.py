"""Attacks on what the gate sees: real models of the world's own rows, and predictions that nobody should believe."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from noria.bench.gate.attacks.attack import Attack
from noria.bench.gate.attacks.world import World
from noria.bench.gate.evidence import Question, classification, said
from noria.models.answers import ask, watch
from noria.models.examples import Examples
from noria.models.metrics import score
from noria.pipeline import Gate, Slice
from noria.records import Decision, Spread

_PARTS = 50


def _ask(world: World, ours: np.ndarray, theirs: np.ndarray | None = None, **changes: Any) -> Question:
    """The world's own holdout; the champion saw two rows of a hundred, if no other is given."""
    split = world.split
    if theirs is None:
        theirs = _predict(world, _part(world, 0.02))
    honest = score(split.problem, split.holdout.target, _predict(world, split.train))
    spread = {"spread": {name: Spread(mean=value, sd=0.02) for name, value in honest.items()}}
    asked = Question(split.problem, split.holdout.target, ours, theirs, of_candidate=spread)
    return replace(asked, **changes)


def _part(world: World, share: float) -> Examples:
    return world.split.train.take(np.arange(max(8, int(share * len(world.split.train)))))


def _predict(world: World, rows: Examples, kind: str = "ridge") -> np.ndarray:
    """What a model of these rows says of the holdout."""
    model = world.fitted(world.split, kind, rows).model
    return np.asarray(model.predict(world.split.holdout.features), dtype=np.float64)


def _good(world: World) -> np.ndarray:
    return _predict(world, world.split.train)


def worse(world: World, attacked: bool) -> Decision:
    """The candidate has seen two rows of a hundred, the champion all of them."""
    weak, good = _predict(world, _part(world, 0.02)), _good(world)
    return (_ask(world, weak, good) if attacked else _ask(world, good, weak)).decide()


def equal(world: World, attacked: bool) -> Decision:
    """Each was trained on one half of the rows."""
    train = world.split.train
    even = np.arange(len(train)) % 2 == 0
    champion = _predict(world, train.take(even)) if attacked else None
    return _ask(world, _predict(world, train.take(~even)), champion).decide()


def lucky(world: World, attacked: bool) -> Decision:
    """The luckiest of fifty models, each of a random half of the rows.

    As if it were the only one it would be promoted: it takes the count of looks to see through it.
    """
    champion, lucky_one = _fifty(world)
    return _ask(world, lucky_one, champion, looks=_PARTS - 1 if attacked else 0).decide()


@cache
def _fifty(world: World) -> tuple[np.ndarray, np.ndarray]:
    rng, train = np.random.default_rng(7), world.split.train
    said_of = [_predict(world, train.take(rng.random(len(train)) < 0.5)) for _ in range(_PARTS + 1)]
    errors = [float(np.sum((world.split.holdout.target - said) ** 2)) for said in said_of]
    champion = int(np.argsort(errors)[len(errors) // 2])
    return said_of[champion], said_of[int(np.argmin(errors))]


def not_finite(world: World, attacked: bool, *, value: float) -> Decision:
    """Predictions that are numbers, and metrics that are not: a constant target, or squares beyond all numbers."""
    asked = _ask(world, _good(world))
    if not attacked:
        return asked.decide()
    if np.isnan(value):
        return replace(asked, target=np.full(len(asked.target), 60.0)).decide()
    return replace(asked, challenger=np.where(np.arange(len(asked.target)) == 0, 1e200, _good(world))).decide()


def few_rows(world: World, attacked: bool) -> Decision:
    """A holdout of eight rows."""
    asked, eight = _ask(world, _good(world)), slice(0, 8)
    if not attacked:
        return asked.decide()
    ours, theirs = np.asarray(asked.challenger)[eight], np.asarray(asked.champion)[eight]
    return replace(asked, target=asked.target[eight], challenger=ours, champion=theirs).decide()


def wrong_length(world: World, attacked: bool) -> Decision:
    """One prediction is missing."""
    ours = _good(world)
    return _ask(world, ours[:-1] if attacked else ours).decide()


def wrong_order(world: World, attacked: bool) -> Decision:
    """A model that answers in another order than it was asked in; nothing is missing, every number is finite."""
    split, model = world.split, world.fitted(world.split, "ridge", world.split.train).model
    asked_of = _Reversed(model) if attacked else model
    said_of = ask(split.problem, asked_of, split.holdout.features)
    problem = watch(split.problem, asked_of, split.holdout.features, said_of, seed=1).unsteady
    return _ask(world, np.asarray(said_of), of_challenger={"problem": problem}).decide()


class _Reversed:
    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, features: Any) -> np.ndarray:
        said_of: np.ndarray = self._model.predict(features)[::-1]
        return said_of


def constant(_: World, attacked: bool) -> Decision:
    """Of a hundred rows five are positive, and the model says no to all of them: 95 % are right."""
    rng = np.random.default_rng(3)
    known = rng.normal(0, 1, 1000)
    target = known + rng.normal(0, 0.3, 1000) > np.quantile(known, 0.95)
    confused = said(np.clip(rng.normal(0.35, 0.12, 1000), 0.01, 0.99))
    ours = np.full(1000, 0.05) if attacked else 1 / (1 + np.exp(-6 * (known - 1.65)))
    return Question(classification("accuracy", "roc_auc", "log_loss"), target, said(ours), confused).decide()


def one_slice(world: World, attacked: bool) -> Decision:
    """Better on the whole, and far worse for one group of pupils."""
    weak, good, split = _predict(world, _part(world, 0.02)), _good(world), world.split
    group = split.holdout.features["race_ethnicity"].to_numpy().astype(str)
    chosen = group == "group B"
    noise = np.random.default_rng(5).normal(0, 25, len(group))
    policy = Gate(slices=(Slice(column="race_ethnicity", margin=0.1),))
    ours = np.where(chosen, good + noise, good) if attacked else good
    theirs = np.where(chosen, good, weak + np.random.default_rng(6).normal(0, 20, len(group)))
    return _ask(world, ours, theirs, policy=policy, slices={"race_ethnicity": group}).decide()


ATTACKS = (
    Attack("worse model", "champion", worse),
    Attack("equal model", "champion", equal),
    Attack("lucky seed among 50", "champion", lucky),
    Attack("NaN metrics", "finite", partial(not_finite, value=np.nan), "nan"),
    Attack("infinite metrics", "finite", partial(not_finite, value=np.inf), "inf"),
    Attack("holdout of 8 rows", "rows", few_rows),
    Attack("predictions of the wrong length", "predictions", wrong_length),
    Attack("predictions of the wrong order", "predictions", wrong_order, "another order"),
    Attack("constant prediction on unbalanced classes", "constant", constant),
    Attack("better mean with one slice far worse", "slice", one_slice),
)
