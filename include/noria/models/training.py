"""From a split table to a candidate: tune every family, choose by cross-validation, judge on the holdout."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from noria.errors import InputError, JobError
from noria.models.build import DUMMY
from noria.models.evaluation import Entry, Fitted, cross_validate, judge
from noria.models.examples import Split
from noria.models.holdout import row_set
from noria.models.tuning import Training, tune
from noria.models.workers import Workers
from noria.pipeline import Pipeline, greater_is_better
from noria.records import Contender, CurvePoint, Metrics, Spread, StoppedBy

log = logging.getLogger(__name__)
LINEAR = "linear"


@dataclass(frozen=True)
class Trained:
    """What training found, before anything is stored.

    Attributes:
        chosen: The best contender by cross-validation on the training rows; the holdout has no say in it.
        model: It, fitted on all training rows, as the bytes of a skops file.
        baselines: `dummy` and `linear` on the holdout.
        contenders: The best of each family and the baselines.
        learning_curve: The chosen one on shares of the training rows.
        trials: Trials spent.
        seen: Hashes of all rows that the search tried models on or the model was fitted on (n × 16, sorted): of the
            very arrays that they were given, whatever the rule says.
        stopped_by: What ended the search before all its trials were spent.
        search_seconds: How long the search took, by the clock; the rest is judging.
    """

    chosen: Contender
    model: bytes
    seen: np.ndarray
    baselines: dict[str, Metrics]
    contenders: tuple[Contender, ...]
    learning_curve: tuple[CurvePoint, ...]
    trials: int
    stopped_by: StoppedBy | None = None
    search_seconds: float = 0.0


@dataclass(frozen=True)
class _Contestant:
    entry: Entry
    trials: int
    seconds: float
    cv: dict[str, Spread]


def fit_all(split: Split, pipeline: Pipeline, workers: Workers) -> Trained:
    """Tune, choose and judge.

    Raises:
        InputError: No trial of any family worked, or none has a finite score.
        JobError: The chosen model or a baseline could not be judged.
    """
    given = Training(split.problem, split.train)
    training = workers.share(given)
    search = tune(
        split.problem,
        training,
        workers,
        estimators=pipeline.estimators,
        tuning=pipeline.tuning,
        seed=pipeline.seed,
    )
    entries = [(Entry(t.kind, t.params), t.trials, t.seconds) for t in search.best]
    baselines = [(Entry(kind, {}), 0, 0.0) for kind in (DUMMY, LINEAR)]
    seeds = [pipeline.seed + i for i in range(pipeline.evaluation.seeds)]
    log.info("judging %d contenders and 2 baselines over %d seeds", len(entries), len(seeds))
    everyone = [*entries, *baselines]
    spreads = cross_validate(training, workers, [e[0] for e in everyone], pipeline.holdout.share, seeds)
    contestants = []
    for (entry, trials, seconds), cv in zip(everyone, spreads, strict=True):
        if isinstance(cv, Exception):
            log.warning("%s takes no part: %s", entry.kind, cv)
        else:
            contestants.append(_Contestant(entry, trials, seconds, cv))
    chosen = _choose(contestants, pipeline)
    shared = workers.share(split)
    fitted, curve = judge(
        shared,
        workers,
        [c.entry for c in contestants],
        chosen=chosen,
        seed=pipeline.seed,
        shares=pipeline.evaluation.learning_curve,
        seeds=seeds,
    )
    trained = _result(contestants, fitted, chosen, curve, split)
    seen = row_set(np.concatenate([given.rows.hashes, trained.seen]))
    return replace(trained, seen=seen, stopped_by=search.stopped_by, search_seconds=search.seconds)


def _choose(contestants: list[_Contestant], pipeline: Pipeline) -> int:
    """Position of the best contestant that is no baseline, by cross-validation; the first of equals."""
    metric = pipeline.primary_metric
    sign = 1.0 if greater_is_better(metric) else -1.0
    scores = [(sign * c.cv[metric].mean, -i) for i, c in enumerate(contestants) if c.trials]
    finite = [s for s in scores if s[0] == s[0]]
    if not finite:
        raise InputError(
            f"no contender has a {metric} on repeated splits of the training rows",
            remedy="Bring more rows, or choose another primary metric in pipeline.yaml.",
        )
    position = -max(finite)[1]
    best = contestants[position]
    log.info(
        "chosen by cross-validation: %s, %s %.4f ± %.4f",
        best.entry.kind,
        metric,
        best.cv[metric].mean,
        best.cv[metric].sd,
    )
    return position


def _result(
    contestants: list[_Contestant], fitted: list[Fitted | Exception], chosen: int, curve: list[CurvePoint], split: Split
) -> Trained:
    contenders: list[tuple[_Contestant, Contender]] = []
    baselines: dict[str, Metrics] = {}
    tuned_kinds = {c.entry.kind for c in contestants if c.trials}
    for contestant, fit in zip(contestants, fitted, strict=True):
        if isinstance(fit, Exception):
            log.warning("%s could not be judged on the holdout: %s", contestant.entry.kind, fit)
            continue
        if not contestant.trials:
            baselines[contestant.entry.kind] = fit.metrics
        if contestant.trials or contestant.entry.kind not in tuned_kinds:
            contenders.append((contestant, _contender(contestant, fit)))
    for kind in (DUMMY, LINEAR):
        if kind not in baselines:
            raise JobError(f"the baseline {kind!r} could not be judged on the holdout; see the log")
    best = fitted[chosen]
    assert isinstance(best, Fitted) and best.model is not None and best.seen is not None  # noqa: S101  judge keeps them
    metric = split.problem.primary_metric
    log.info("holdout of %d rows: %s %.4f, linear %.4f, dummy %.4f", len(split.holdout), metric,
             best.metrics[metric], baselines[LINEAR][metric], baselines[DUMMY][metric])  # fmt: skip
    return Trained(
        chosen=next(contender for contestant, contender in contenders if contestant is contestants[chosen]),
        model=best.model,
        seen=best.seen,
        baselines=baselines,
        contenders=tuple(contender for _, contender in contenders),
        learning_curve=tuple(curve),
        trials=sum(c.trials for c in contestants),
    )


def _contender(contestant: _Contestant, fit: Fitted) -> Contender:
    return Contender(
        name=contestant.entry.kind,
        params=contestant.entry.params,
        trials=contestant.trials,
        cv=contestant.cv,
        holdout=fit.metrics,
        seconds=round(contestant.seconds + fit.seconds, 3),
    )
