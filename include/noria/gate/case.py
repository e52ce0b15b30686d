"""The evidence as every rule needs it: checked for use, and measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from noria.gate.evidence import Challenger, Champion, Circumstances, Holdout
from noria.models.metrics import Predicted, Predictions, score
from noria.models.problem import Problem
from noria.records import Metrics


@dataclass(frozen=True)
class Case:
    """What is judged, with what the gate has found out by itself.

    Attributes:
        challenger: The candidate.
        champion: Its rival, if there is one.
        holdout: The rows.
        circumstances: What is known of data, clock, policy and registry.
    """

    challenger: Challenger
    champion: Champion | None
    holdout: Holdout
    circumstances: Circumstances

    @property
    def metric(self) -> str:
        """The metric that decides."""
        return self.holdout.problem.primary_metric

    @cached_property
    def unusable(self) -> str | None:
        """Why the candidate's predictions are of no use, if so."""
        return self.challenger.problem or unusable(self.challenger.predictions, self.holdout)

    @cached_property
    def unseen(self) -> np.ndarray:
        """Which rows of the holdout the candidate has not seen (n booleans), as far as that is known."""
        return ~_seen(self.challenger.seen, len(self.holdout))

    @cached_property
    def metrics(self) -> Metrics | None:
        """The candidate's on the rows that it has not seen; none where its predictions or its rows are of no use."""
        said = self.challenger.predictions
        if self.unusable or said is None or not self.unseen.any():
            return None
        return score(self.holdout.problem, self.holdout.target[self.unseen], take(said, self.unseen))

    @cached_property
    def shared(self) -> np.ndarray:
        """Which rows of the holdout neither model has seen (n booleans)."""
        result: np.ndarray = self.unseen & ~_seen(self.champion.seen if self.champion else None, len(self.holdout))
        return result

    @cached_property
    def champion_unusable(self) -> str | None:
        """Why the champion cannot be compared, if so."""
        if self.champion is None:
            return None
        return self.champion.problem or unusable(self.champion.predictions, self.holdout)

    @cached_property
    def pair(self) -> Pair | None:
        """Both models on the rows that neither has seen; none where one of them cannot be compared."""
        if self.champion is None or self.champion_unusable or self.metrics is None or not self.shared.any():
            return None
        ours, theirs = self.challenger.predictions, self.champion.predictions
        if ours is None or theirs is None:
            return None
        whole = Pair(self.holdout.problem, self.holdout.target, ours, theirs, np.arange(len(self.holdout)))
        return whole.take(self.shared).ordered()


@dataclass(frozen=True)
class Pair:
    """Predictions of two models of the same n rows.

    Attributes:
        problem: What is predicted.
        target: n actual values or labels.
        candidate: What the candidate says of them.
        champion: What the champion says of them.
        rows: Their n positions in the holdout.
    """

    problem: Problem
    target: np.ndarray
    candidate: Predictions
    champion: Predictions
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: np.ndarray) -> Pair:
        """The rows at these positions (or where this mask is true)."""
        ours, theirs = take(self.candidate, rows), take(self.champion, rows)
        return Pair(self.problem, self.target[rows], ours, theirs, self.rows[rows])

    def by_primary_metric(self) -> Pair:
        """Judged by the metric that decides alone."""
        return replace(self, problem=replace(self.problem, metrics=(self.problem.primary_metric,)))

    def ordered(self) -> Pair:
        """The rows sorted by target and predictions: in whatever order they come, all sums and draws are the same.

        Which of the models is which matters only to rows that nothing else tells apart.
        """
        ours, theirs = _as_one_number(self.candidate), _as_one_number(self.champion)
        return self.take(np.lexsort((ours, np.abs(ours - theirs), ours + theirs, self.target)))

    @cached_property
    def metrics(self) -> tuple[Metrics, Metrics]:
        """The candidate's and the champion's."""
        return (
            score(self.problem, self.target, self.candidate),
            score(self.problem, self.target, self.champion),
        )


def _as_one_number(predictions: Predictions) -> np.ndarray:
    if isinstance(predictions, Predicted):
        mixed: np.ndarray = np.sum(predictions.shares * np.sqrt(np.arange(2, predictions.shares.shape[1] + 2)), axis=1)
        result: np.ndarray = mixed + predictions.labels
        return result
    return predictions


def take(predictions: Predictions, rows: np.ndarray) -> Predictions:
    """Those of the rows at these positions (or where this mask is true)."""
    if isinstance(predictions, Predicted):
        return Predicted(predictions.shares[rows], predictions.labels[rows])
    values: np.ndarray = predictions[rows]
    return values


def unusable(predictions: Predictions | None, holdout: Holdout) -> str | None:
    """What is wrong with the form of predictions of the holdout, if anything is."""
    if predictions is None:
        return "there are no predictions"
    if isinstance(predictions, Predicted) != (holdout.problem.task == "classification"):
        return f"they are not those of a {holdout.problem.task}"
    if isinstance(predictions, Predicted):
        return _unusable_classes(predictions, len(holdout), len(holdout.problem.classes))
    return _unusable_values(predictions, (len(holdout),))


def _unusable_classes(said: Predicted, rows: int, classes: int) -> str | None:
    wrong = _unusable_values(said.shares, (rows, classes))
    if wrong or said.labels.shape != (rows,):
        return wrong or f"{said.labels.shape} labels for {rows} rows"
    if said.shares.min(initial=0) < 0 or said.shares.max(initial=0) > 1 + 1e-6:
        return f"probabilities reach from {said.shares.min():.4g} to {said.shares.max():.4g}"
    if said.labels.min(initial=0) < -1 or said.labels.max(initial=0) >= classes:
        return f"a label is none of the {classes} classes"
    return None


def _unusable_values(values: np.ndarray, shape: tuple[int, ...]) -> str | None:
    if values.shape != shape:
        got = f"{len(values)} predictions" if values.ndim == len(shape) == 1 else f"predictions of shape {values.shape}"
        return f"{got} for {shape[0]} rows" + (f" and {shape[1]} classes" if len(shape) > 1 else "")
    if broken := int(np.sum(~np.isfinite(values).reshape(shape[0], -1).all(axis=1))):
        return f"{broken} of {shape[0]} predictions are not finite numbers"
    return None


def _seen(seen: np.ndarray | None, rows: int) -> np.ndarray:
    """None of the rows where it is not known, or said of other rows; a rule of its own sees to that."""
    return np.zeros(rows, dtype=bool) if seen is None or seen.shape != (rows,) else seen.astype(bool)
