"""A search for the hyper-parameters of one estimator as a sweep job: one trial a job, spread over the cluster.

The search spaces of pipeline.yaml are Optuna's kinds: both ends belong to a range, a step counts from its lower end.
Azure ML's mean something else (https://learn.microsoft.com/azure/machine-learning/how-to-tune-hyperparameters):
`randint(u)` ends before u, `quniform` rounds to multiples of q counted from zero, and the bounds of the logarithmic
ones are exponents of e. What cannot be said in them is refused before anything is submitted.

A cap in vCPU-seconds (`tuning.max_vcpu_seconds`) becomes a time limit: so long may as many nodes be held as there are
trials at once, but at least a minute. Azure ML counts it from the sweep's start, so waiting for nodes is in it, and
cancels trials that run.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from noria.compute.azureml.frame import LONGEST_SECONDS, Frame
from noria.errors import InputError, SpecError
from noria.pipeline import Dimension, Scalar, Tuning, greater_is_better
from noria.records import Run

if TYPE_CHECKING:
    from azure.ai.ml.sweep import SweepJob

Sampling = Literal["random", "bayesian", "grid"]
Stopping = Literal["bandit", "median"]
_MOST_POINTS = 1000
_SAFE = re.compile(r"[A-Za-z0-9_.:+-]+")
_SLACK = 0.1
_LEAST_SECONDS = 60
"""Shorter limits are none to Azure ML: it takes them for 60 days, so its SDK makes a minute of them."""


@dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Attributes:
        estimator: A family of the run's pipeline.
        space: Its search space.
        trials: How many points are tried.
        concurrent: How many at once; each takes a node.
        sampling: How points are chosen; `random` draws as a local search draws its first.
        stopping: Which trials are ended early, judged by the mean over the folds so far: `bandit` those more than 10 %
            behind the best, `median` those worse than the median of the others; none lets all run to their end.
        trial_seconds: A trial that takes longer is ended.
        node_vcpus: vCPUs of a node; the cap of the pipeline's tuning needs them.
        key: Folder of the scores, below `search/<estimator>/` of the run; what keeps searches of one run apart.
    """

    estimator: str
    space: Mapping[str, Dimension]
    trials: int
    concurrent: int = 2
    sampling: Sampling = "random"
    stopping: Stopping | None = None
    trial_seconds: int = 3600
    node_vcpus: int | None = None
    key: str = ""


def sweep_job(frame: Frame, search: Search, run: Run) -> SweepJob:
    """The job.

    Raises:
        SpecError: Something of the search cannot be said to Azure ML.
    """
    from azure.ai.ml.entities import CommandComponent
    from azure.ai.ml.sweep import Objective, RandomSamplingAlgorithm, SweepJob, SweepJobLimits

    space, longest = search_space(search), limit_seconds(search, run.pipeline.tuning)
    metric = run.pipeline.primary_metric
    sampling: Any = search.sampling
    if sampling == "random":
        sampling = RandomSamplingAlgorithm(seed=run.pipeline.seed % 2**31, rule="random")
    trial = CommandComponent(
        name="trial",
        code=frame.code,
        command=_command(search, run),
        environment=frame.environment,
        environment_variables=frame.variables,
    )
    return SweepJob(
        **frame.described,
        trial=trial,
        identity=frame.identity,
        search_space=space,
        sampling_algorithm=sampling,
        objective=Objective(goal="maximize" if greater_is_better(metric) else "minimize", primary_metric=metric),
        early_termination=_policy(search),
        limits=SweepJobLimits(
            max_total_trials=search.trials,
            max_concurrent_trials=min(search.concurrent, search.trials),
            timeout=longest,
            trial_timeout=min(search.trial_seconds, longest),
        ),
    )


def limit_seconds(search: Search, tuning: Tuning) -> int:
    """How long the whole sweep may take.

    Raises:
        InputError: There is a cap, and nobody knows how many vCPUs a node has.
    """
    longest = max(LONGEST_SECONDS, math.ceil(4 * tuning.timeout_seconds))
    if tuning.max_vcpu_seconds is None:
        return longest
    if search.node_vcpus is None:
        raise InputError(
            "tuning.max_vcpu_seconds cannot be kept: Azure does not tell how many vCPUs a node of the cluster has",
            expected="a cluster that the connection's identity may read",
            remedy="Leave out the cap, or run noria doctor.",
        )
    held = search.node_vcpus * min(search.concurrent, search.trials)
    return min(longest, max(_LEAST_SECONDS, math.floor(tuning.max_vcpu_seconds / held)))


def search_space(search: Search) -> dict[str, Any]:
    """Our search space as Azure ML's. Raises SpecError naming the dimension that cannot be one."""
    if not search.space:
        raise SpecError(
            f"estimator {search.estimator} has nothing to search",
            expected="a search space",
            remedy=f"Give estimators.{search.estimator}.search in pipeline.yaml.",
        )
    if search.sampling == "bayesian" and search.stopping:
        raise SpecError(
            "Azure ML's bayesian sampling takes no early termination", remedy="Leave out one, or sample at random."
        )
    return {name: _distribution(f"{search.estimator}.search.{name}", d, search) for name, d in search.space.items()}


def choice_text(value: Scalar | None) -> str:
    """A choice as a trial gets it on its command line: as YAML writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def point_of(dimension: Dimension, text: str) -> Scalar | None:
    """What a value on a trial's command line stands for: a point of our dimension, on its grid and within its ends."""
    if dimension.choices is not None:
        return next(choice for choice in dimension.choices if choice_text(choice) == text)
    assert dimension.low is not None and dimension.high is not None  # noqa: S101  the schema demands them
    value = float(text)
    step = dimension.step or (1.0 if dimension.integer else None)
    if step is not None:
        last = math.floor((dimension.high - dimension.low) / step + 1e-9)
        value = dimension.low + step * min(max(round((value - dimension.low) / step), 0), last)
    value = min(max(value, dimension.low), dimension.high)
    return round(value) if dimension.integer else value


def _command(search: Search, run: Run) -> str:
    fixed = ["python", "-m", "noria.jobs.trial", "--pipeline", run.pipeline.name, "--run-id", run.run_id]
    fixed += ["--estimator", search.estimator, *(["--report-folds"] if search.stopping else [])]
    fixed += ["--key", search.key] if search.key else []
    points = [f"--set {name}=${{{{search_space.{name}}}}}" for name in search.space]
    return " ".join([shlex.join(fixed), *points])


def _policy(search: Search) -> Any:
    from azure.ai.ml.sweep import BanditPolicy, MedianStoppingPolicy

    if search.stopping == "bandit":
        return BanditPolicy(slack_factor=_SLACK, evaluation_interval=1, delay_evaluation=1)
    if search.stopping == "median":
        return MedianStoppingPolicy(evaluation_interval=1, delay_evaluation=1)
    return None


def _distribution(key: str, dimension: Dimension, search: Search) -> Any:
    if dimension.choices is not None:
        return _choices(key, dimension.choices)
    if search.sampling == "grid":
        return _grid(key, dimension)
    if dimension.log:
        return _logarithmic(key, dimension, search)
    if dimension.integer or dimension.step is not None:
        return _stepped(key, dimension)
    from azure.ai.ml.sweep import Uniform

    return Uniform(min_value=dimension.low, max_value=dimension.high)


def _choices(key: str, choices: tuple[Scalar | None, ...]) -> Any:
    from azure.ai.ml.sweep import Choice

    for value in choices:
        if not _SAFE.fullmatch(choice_text(value)):
            raise SpecError(
                f"{key}: Azure ML puts the choice {value!r} into a command line as it stands",
                expected="letters, digits and any of _ . : + -",
            )
    texts = [choice_text(value) for value in choices]
    if len(set(texts)) < len(texts):
        raise SpecError(f"{key}: choices that are written alike ({', '.join(texts)}) cannot be told apart")
    plain = all(isinstance(value, int | float) and not isinstance(value, bool) for value in choices)
    return Choice(values=list(choices) if plain else texts)


def _logarithmic(key: str, dimension: Dimension, search: Search) -> Any:
    """Bounds are exponents of e; whole numbers take half a step beyond both ends, as Optuna draws them."""
    from azure.ai.ml.sweep import LogUniform, QLogUniform

    if search.sampling == "bayesian":
        raise SpecError(
            f"{key}: Azure ML's bayesian sampling takes no logarithmic range",
            remedy="Sample at random, or leave out log.",
        )
    low, high = _ends(dimension)
    if dimension.integer:
        return QLogUniform(min_value=math.log(low - 0.5), max_value=math.log(high + 0.5), q=1)
    return LogUniform(min_value=math.log(low), max_value=math.log(high))


def _stepped(key: str, dimension: Dimension) -> Any:
    """A grid with equal odds for all its points, the first and the last included."""
    from azure.ai.ml.sweep import QUniform, Randint

    low, high = _ends(dimension)
    step = dimension.step or 1.0
    last = low + step * math.floor((high - low) / step + 1e-9)
    if dimension.integer and low == 0 and step == 1:
        return Randint(upper=int(last) + 1)
    if not math.isclose(low / step, round(low / step), abs_tol=1e-9):
        return _grid(key, dimension)  # no multiples of the step
    return QUniform(min_value=low - step / 2, max_value=last + step / 2, q=int(step) if step.is_integer() else step)


def _grid(key: str, dimension: Dimension) -> Any:
    from azure.ai.ml.sweep import Choice

    low, high = _ends(dimension)
    step = dimension.step or (1.0 if dimension.integer else None)
    if step is None:
        raise SpecError(
            f"{key}: a range without steps has no grid", remedy="Give it a step or choices, or sample at random."
        )
    count = math.floor((high - low) / step + 1e-9) + 1
    if count > _MOST_POINTS:
        raise SpecError(
            f"{key}: a grid of {count} points", expected=f"at most {_MOST_POINTS}", remedy="Widen its step."
        )
    points = [low + i * step for i in range(count)]
    return Choice(values=[round(p) for p in points] if dimension.integer else points)


def _ends(dimension: Dimension) -> tuple[float, float]:
    assert dimension.low is not None and dimension.high is not None  # noqa: S101  the schema demands them
    return dimension.low, dimension.high
