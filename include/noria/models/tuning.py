"""The search for hyper-parameters, on training rows only.

Optuna is asked and told in fixed rounds: what is asked depends on the rounds before and on the seed alone, never on how
many workers there are or which one is faster. So one seed gives one result, to the last digit, unless the search is
stopped by time (`tuning.timeout_seconds`) or by its cap (`tuning.max_vcpu_seconds`): how many trials fit into either
depends on the machine. Then trials that have not begun are left out, also in the midst of a round; those that run are
paid for already, so they end and count. The first one always runs.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from noria.errors import InputError
from noria.models.build import build_model
from noria.models.examples import Examples
from noria.models.metrics import evaluate
from noria.models.problem import Problem
from noria.models.space import Space, default_point, search_space, suggest
from noria.models.workers import NOT_BEGUN, Workers
from noria.pipeline import EstimatorSpec, Scalar, Tuning, greater_is_better
from noria.records import StoppedBy

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)
_ROUND_TRIALS = 2  # of each family in a round: enough to keep workers busy, few enough to learn between rounds
_STARTUP_TRIALS = 4


@dataclass(frozen=True)
class Training:
    """What a trial may see."""

    problem: Problem
    rows: Examples


@dataclass(frozen=True)
class TrialJob:
    """One trial: a family with hyper-parameters, scored by cross-validation."""

    kind: str
    params: dict[str, Scalar | None]
    folds: int
    seed: int


@dataclass(frozen=True)
class Tuned:
    """The best of one family."""

    kind: str
    params: dict[str, Scalar | None]
    score: float
    trials: int
    seconds: float


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        best: The best of each family that had a trial that worked.
        stopped_by: What ended it before all its trials were spent.
        seconds: How long it took, by the clock.
    """

    best: list[Tuned]
    stopped_by: StoppedBy | None
    seconds: float


@dataclass(frozen=True)
class _End:
    """When the search has to end, by the monotonic clock, and why."""

    at: float
    cause: StoppedBy
    words: str


class _Bounds:
    """The time and the cap of a search, counted from now; how many cores there are may change from round to round."""

    def __init__(self, tuning: Tuning, workers: Workers) -> None:
        self._tuning, self._workers = tuning, workers
        self._over = time.monotonic() + tuning.timeout_seconds
        self._looked_at, self._cores, self._held = time.monotonic(), 0, 0.0

    def end(self) -> _End:
        """The earlier one of both, as it is before a round or after it."""
        cap, timeout, now = self._tuning.max_vcpu_seconds, self._tuning.timeout_seconds, time.monotonic()
        if cap is not None:
            cores = self._workers.cores
            # Machines that came or went meanwhile count as if they had been there all the time: rather too much.
            self._held += max(cores, self._cores) * (now - self._looked_at)
            self._looked_at, self._cores = now, cores
            if (at := now + (cap - self._held) / cores) < self._over:
                return _End(at, "cap", f"{cores} cores hold {cap:g} vCPU-seconds (tuning.max_vcpu_seconds)")
        return _End(self._over, "time", f"{timeout:g} seconds are over (tuning.timeout_seconds)")


@dataclass
class _FamilySearch:
    """The state of one family's search."""

    spec: EstimatorSpec
    space: Space
    budget: int
    study: optuna.Study
    spent: int = 0
    seconds: float = 0.0
    scores: list[tuple[float, dict[str, Scalar | None]]] = field(default_factory=list)
    last_error: BaseException | None = None

    def best(self, *, maximise: bool) -> tuple[float, dict[str, Scalar | None]] | None:
        """Score and hyper-parameters; the earliest of equals."""
        if not self.scores:
            return None
        return (max if maximise else min)(self.scores, key=lambda s: s[0])


def run_trial(training: Training, job: TrialJob) -> tuple[float, float]:
    """Score of a trial: the mean of the primary metric over the folds. Runs on a worker.

    Returns:
        Score and seconds.
    """
    started = time.monotonic()
    scores = list(fold_scores(training, job))
    return math.fsum(scores) / len(scores), time.monotonic() - started


def fold_scores(training: Training, job: TrialJob) -> Iterator[float]:
    """The primary metric of a trial on each fold, as soon as it is known."""
    for fit, check in folds(training, job.folds, job.seed):
        rows = training.rows.take(fit)
        model = build_model(training.problem, job.kind, job.params, job.seed).fit(rows.features, rows.target)
        yield evaluate(training.problem, model, training.rows.take(check))[training.problem.primary_metric]


def folds(training: Training, count: int, seed: int) -> list[tuple[Any, Any]]:
    """Positions to fit on and to check on; classes keep their shares."""
    from sklearn.model_selection import KFold, StratifiedKFold

    kind = KFold if training.problem.task == "regression" else StratifiedKFold
    return list(kind(count, shuffle=True, random_state=seed).split(training.rows.features, training.rows.target))


def tune(
    problem: Problem, shared: Any, workers: Workers, *, estimators: Sequence[EstimatorSpec], tuning: Tuning, seed: int
) -> Search:
    """Search every family.

    Args:
        problem: What is to be learned.
        shared: A `Training` as the workers share it.
        workers: Where trials run.
        estimators: The families with their spaces.
        tuning: The budget; every family gets at least one trial, unless the search is stopped before.
        seed: Of samplers, folds and estimators.

    Returns:
        The best of each family, in the order of `estimators`.

    Raises:
        InputError: No trial worked.
    """
    begun = time.monotonic()
    bounds = _Bounds(tuning, workers)
    end = bounds.end()
    searches = _searches(problem, estimators, tuning.trials, seed)
    total = sum(s.budget for s in searches)
    log.info("tuning: %d trials over %s", total, ", ".join(f"{s.spec.kind} {s.budget}" for s in searches))
    stopped = False
    while not stopped and (asked := _round(searches)):
        points = [{**s.spec.params, **suggest(t, s.space)} for s, t in asked]
        jobs = [TrialJob(s.spec.kind, p, tuning.folds, seed) for (s, _), p in zip(asked, points, strict=True)]
        results = workers.map(run_trial, shared, jobs, until=end.at)
        for (search, trial), point, result in zip(asked, points, results, strict=True):
            _tell(search, trial, point, result)
        _report(searches, problem, total)
        end = bounds.end()
        is_over = time.monotonic() > end.at and any(s.spent < s.budget for s in searches)
        stopped = is_over and any(s.scores for s in searches)
    if stopped:
        log.warning("tuning stops after %d of %d trials: %s", sum(s.spent for s in searches), total, end.words)
    return Search(_results(searches, problem), end.cause if stopped else None, time.monotonic() - begun)


def _searches(problem: Problem, estimators: Sequence[EstimatorSpec], trials: int, seed: int) -> list[_FamilySearch]:
    spaces = [search_space(spec, problem.task) for spec in estimators]
    budgets = _budgets([bool(space) for space in spaces], trials)
    return [
        _FamilySearch(spec, space, budget, _study(problem, spec, space, seed + i))
        for i, (spec, space, budget) in enumerate(zip(estimators, spaces, budgets, strict=True))
    ]


def _budgets(searchable: Sequence[bool], trials: int) -> list[int]:
    """Trials of each family: one where there is nothing to search, the rest in equal parts, the first ones get more."""
    count = sum(searchable)
    left = max(trials - (len(searchable) - count), count)
    shares = iter([left // count + (1 if i < left % count else 0) for i in range(count)] if count else [])
    return [next(shares) if s else 1 for s in searchable]


def _study(problem: Problem, spec: EstimatorSpec, space: Space, seed: int) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=_STARTUP_TRIALS, multivariate=True, constant_liar=True
        )
    direction = "maximize" if greater_is_better(problem.primary_metric) else "minimize"
    study = optuna.create_study(sampler=sampler, direction=direction)
    if space:
        study.enqueue_trial(default_point(spec, problem.task, space))
    return study


def _round(searches: list[_FamilySearch]) -> list[tuple[_FamilySearch, optuna.trial.Trial]]:
    """Trials of every family, the first of each before the second of any: a round that is cut treats all alike."""
    asked = [_ask(search) for search in searches]
    return [(s, t) for i in range(_ROUND_TRIALS) for s, ts in zip(searches, asked, strict=True) for t in ts[i : i + 1]]


def _ask(search: _FamilySearch) -> list[optuna.trial.Trial]:
    count = min(_ROUND_TRIALS, search.budget - search.spent)
    search.spent += count
    return [search.study.ask() for _ in range(count)]


def _tell(search: _FamilySearch, trial: optuna.trial.Trial, point: dict[str, Scalar | None], result: Any) -> None:
    import optuna

    if result is NOT_BEGUN:
        search.spent -= 1
    elif isinstance(result, BaseException):
        search.last_error = result
        log.warning("trial of %s failed with %s: %s", search.spec.kind, _show(point), result)
    else:
        score, seconds = result
        search.seconds += seconds
        if math.isfinite(score):
            search.scores.append((score, point))
            search.study.tell(trial, score)
            log.info("trial of %s: %.4f with %s", search.spec.kind, score, _show(point))
            return
        search.last_error = ValueError(f"the score is {score}")
    search.study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _report(searches: list[_FamilySearch], problem: Problem, total: int) -> None:
    maximise = greater_is_better(problem.primary_metric)
    bests = [(best[0], s.spec.kind) for s in searches if (best := s.best(maximise=maximise))]
    if bests:
        score, kind = (max if maximise else min)(bests, key=lambda b: b[0])
        log.info(
            "%d of %d trials, best %s %.4f (%s)",
            sum(s.spent for s in searches), total, problem.primary_metric, score, kind,
        )  # fmt: skip


def _results(searches: list[_FamilySearch], problem: Problem) -> list[Tuned]:
    tuned = []
    for search in searches:
        best = search.best(maximise=greater_is_better(problem.primary_metric))
        if best is None:
            why = f"no trial of it worked ({search.last_error})" if search.spent else "the search ended before its turn"
            log.warning("%s takes no part: %s", search.spec.kind, why)
            continue
        tuned.append(Tuned(search.spec.kind, best[1], best[0], search.spent, search.seconds))
    if not tuned:
        error = searches[-1].last_error
        raise InputError(
            f"no trial of any estimator worked; the last one said: {error}",
            remedy="Check the estimators' params and search spaces in pipeline.yaml.",
        ) from error
    return tuned


def _show(point: dict[str, Scalar | None]) -> str:
    parts = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in point.items())
    return ", ".join(parts) or "its defaults"
