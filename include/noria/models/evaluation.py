"""How good the contenders are: over repeated splits of the training rows, and once on the holdout."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from noria.errors import JobError
from noria.models.build import build_model
from noria.models.examples import Examples, Split
from noria.models.metrics import evaluate, spread
from noria.models.problem import Problem
from noria.models.store import dump_model
from noria.models.tuning import Training
from noria.models.workers import Workers
from noria.pipeline import Scalar
from noria.records import CurvePoint, Metrics, Spread

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A model that is judged: a family, or `dummy`, with its hyper-parameters."""

    kind: str
    params: dict[str, Scalar | None]


@dataclass(frozen=True)
class _SplitJob:
    entry: Entry
    test_share: float
    seed: int


@dataclass(frozen=True)
class _HoldoutJob:
    entry: Entry
    seed: int
    share: float = 1.0
    share_seed: int = 0
    keep: bool = False


@dataclass(frozen=True)
class Fitted:
    """A model fitted on training rows and judged on the holdout.

    Attributes:
        metrics: On the holdout.
        seconds: Of the fit.
        rows: How many it was fitted on.
        model: Its bytes, if it is kept.
        seen: Hashes of the rows that it was fitted on (rows × 16), if it is kept.
    """

    metrics: Metrics
    seconds: float
    rows: int
    model: bytes | None = None
    seen: np.ndarray | None = None


def cross_validate(
    shared: Any, workers: Workers, entries: Sequence[Entry], test_share: float, seeds: Sequence[int]
) -> list[dict[str, Spread] | Exception]:
    """Mean and spread of each entry over one random split of the training rows a seed.

    Args:
        shared: A `Training` as the workers share it.
        workers: Where it runs.
        entries: What is judged.
        test_share: Share of the training rows that is judged by.
        seeds: Of splits and estimators.

    Returns:
        One result an entry: metrics, or what went wrong.
    """
    jobs = [_SplitJob(entry, test_share, seed) for entry in entries for seed in seeds]
    results = workers.map(_run_split, shared, jobs)
    grouped = [results[i : i + len(seeds)] for i in range(0, len(results), len(seeds))]
    return [_first_error(group) or spread(group) for group in grouped]


def judge(
    shared: Any,
    workers: Workers,
    entries: Sequence[Entry],
    *,
    chosen: int,
    seed: int,
    shares: Sequence[float],
    seeds: Sequence[int],
) -> tuple[list[Fitted | Exception], list[CurvePoint]]:
    """Fit every entry on all training rows and the chosen one on shares of them; judge all on the holdout.

    Args:
        shared: A `Split` as the workers share it.
        workers: Where it runs.
        entries: What is judged.
        chosen: Position of the entry that becomes the candidate; its model is kept.
        seed: Of the estimators.
        shares: Shares of the training rows, for the learning curve.
        seeds: Seeds of the learning curve.
    """
    whole = [_HoldoutJob(entry, seed, keep=i == chosen) for i, entry in enumerate(entries)]
    curve = [_HoldoutJob(entries[chosen], s, share, s) for share in shares for s in seeds]
    results = workers.map(_run_holdout, shared, [*whole, *curve])
    points = results[len(whole) :]
    error = _first_error(points) or (results[chosen] if isinstance(results[chosen], Exception) else None)
    if error is not None:
        raise JobError(f"{entries[chosen].kind} could not be judged on the holdout: {error}") from error
    groups = [points[i : i + len(seeds)] for i in range(0, len(points), len(seeds))]
    return results[: len(whole)], [
        CurvePoint(share=share, rows=group[0].rows, metrics=spread(f.metrics for f in group))
        for share, group in zip(shares, groups, strict=True)
    ]


def _first_error(results: Sequence[Any]) -> Exception | None:
    return next((r for r in results if isinstance(r, Exception)), None)


def _run_split(training: Training, job: _SplitJob) -> Metrics:
    """Metrics of one random split of the training rows. Runs on a worker."""
    from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

    kind = ShuffleSplit if training.problem.task == "regression" else StratifiedShuffleSplit
    splitter = kind(1, test_size=job.test_share, random_state=job.seed)
    fit, check = next(splitter.split(training.rows.features, training.rows.target))
    model = _fit(training.problem, training.rows.take(fit), job.entry, job.seed)
    return evaluate(training.problem, model, training.rows.take(check))


def _run_holdout(split: Split, job: _HoldoutJob) -> Fitted:
    """Metrics on the holdout of a model fitted on (a share of) the training rows. Runs on a worker."""
    started = time.monotonic()
    rows = split.train if job.share >= 1 else _sample(split, job.share, job.share_seed)
    model = _fit(split.problem, rows, job.entry, job.seed)
    seconds = time.monotonic() - started
    metrics = evaluate(split.problem, model, split.holdout)
    if not job.keep:
        return Fitted(metrics, seconds, len(rows))
    return Fitted(metrics, seconds, len(rows), dump_model(model), rows.hashes)


def _sample(split: Split, share: float, seed: int) -> Examples:
    """A random share of the training rows; every class keeps at least one."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(split.train.target == label) for label in split.problem.classes]
    groups = groups or [np.arange(len(split.train))]
    drawn = [rng.permutation(group)[: max(1, round(share * len(group)))] for group in groups]
    return split.train.take(np.sort(np.concatenate(drawn)))


def _fit(problem: Problem, rows: Examples, entry: Entry, seed: int) -> Any:
    return build_model(problem, entry.kind, entry.params, seed).fit(rows.features, rows.target)
