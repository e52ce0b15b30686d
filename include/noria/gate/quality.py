"""Whether the model is good by itself, on rows that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from noria.gate.case import Case, take
from noria.gate.influence import influence, standard_error
from noria.gate.words import improvement, noise, told_apart
from noria.models.metrics import Predicted, positions, score
from noria.pipeline import Gate, Threshold
from noria.pipeline.policy import Limit
from noria.records import Metrics, Rule

MOST_STANDARD_ERRORS = 5.0
"""Of the difference between holdout and cross-validation; luck goes further once in three million times."""
_FEW_OTHERS = 0.01
"""A classifier whose other answers are fewer than this share of the rows of other classes gives one answer."""
_NEARLY_ALL = 0.99
_CALIBRATION_BINS = 10


def of(case: Case, policy: Gate) -> list[Rule]:
    """Every rule about the candidate's metrics; none where it could not be measured, since another rule says why."""
    if case.metrics is None:
        return []
    finite = _finite(case, case.metrics)
    rules = [finite, *(_threshold(case.metrics, threshold) for threshold in policy.thresholds)]
    if math.isfinite(case.metrics[case.metric]):
        rules += [_plausible(case, case.metrics), *_dummy(case, case.metrics)]
    rules.append(_constant(case))
    if policy.calibration is not None:
        rules.append(_calibration(case, policy.calibration))
    return rules


def _finite(case: Case, metrics: Metrics) -> Rule:
    broken = [f"{name} is {value} on the holdout" for name, value in metrics.items() if not math.isfinite(value)]
    claimed = case.challenger.candidate.metrics
    broken += [
        f"training says that {name} is {value}"
        for name, value in claimed.items()
        if not math.isfinite(value) and math.isfinite(metrics.get(name, 0.0))
    ]
    return Rule(
        name="finite metrics",
        kind="finite",
        passed=not broken,
        required=True,
        detail=", ".join(broken) or "every metric is a finite number",
        value=len(broken),
        limit=0,
        needed="rows and predictions by which every metric of the pipeline is a number" if broken else None,
    )


def _threshold(metrics: Metrics, threshold: Threshold) -> Rule:
    name, value = threshold.metric, metrics.get(threshold.metric, math.nan)
    if threshold.min is not None:
        bound, passed, rule = threshold.min, value >= threshold.min, f"at least {threshold.min:g}"
    else:
        bound = threshold.max if threshold.max is not None else math.nan
        passed, rule = value <= bound, f"at most {bound:g}"
    found = told_apart(value, bound)[0]
    detail = f"{name} {found} is {rule}" if passed else f"{name} {found} is not {rule}, the threshold"
    return Rule(
        name=f"{name} {rule}",
        kind="threshold",
        passed=passed,
        required=threshold.level == "required",
        detail=detail,
        value=value,
        limit=bound,
        needed=None if passed else f"{name} {rule}",
    )


def _plausible(case: Case, metrics: Metrics) -> Rule:
    """Not so much better on the holdout than in cross-validation that it must know the rows."""
    metric, value = case.metric, metrics[case.metric]
    expected = case.challenger.candidate.spread.get(metric)
    name, deviations = "as good as cross-validation expects", None
    if expected is None:
        passed, detail = False, f"training says nothing of {metric} in cross-validation, so there is nothing to expect"
    elif not (math.isfinite(expected.mean) and math.isfinite(expected.sd)):
        passed, detail = True, f"{metric} is no number in cross-validation, so it was not compared"
    else:
        deviations = _deviations(case, improvement(value, expected.mean, metric), expected.sd)
        passed = deviations <= MOST_STANDARD_ERRORS
        way = f"{abs(deviations):.2g} standard errors {'better' if deviations > 0 else 'worse'}"
        detail = f"{metric} {value:.4g} on the holdout against {expected.mean:.4g} in cross-validation: {way}"
        if not passed:
            detail += ", which luck does not explain: the model may know the rows"
    return Rule(
        name=name,
        kind="plausible",
        passed=passed,
        required=True,
        detail=detail,
        value=deviations,
        limit=MOST_STANDARD_ERRORS,
        needed=None if passed else f"at most {MOST_STANDARD_ERRORS:g} standard errors better than cross-validation",
    )


def _deviations(case: Case, better: float, sd: float) -> float:
    """How many standard errors of both the holdout is better than cross-validation."""
    said, rows, problem = case.challenger.predictions, case.unseen, case.holdout.problem
    if said is None or abs(better) <= noise(better):
        return 0.0
    target = case.holdout.target[rows]
    error = standard_error(influence(problem, case.metric, target, take(said, rows)))
    if problem.task == "classification" and case.metric != "log_loss":
        error = max(error, 1 / _least_count(case.metric, target))  # no error on few rows is no proof of none on many
    combined = math.hypot(error, sd)
    return better / combined if combined > 0 else math.copysign(math.inf, better)


def _least_count(metric: str, target: np.ndarray) -> int:
    """Rows that the least certain part of a metric between 0 and 1 rests on."""
    return len(target) if metric == "accuracy" else int(np.unique(target, return_counts=True)[1].min())


def _dummy(case: Case, metrics: Metrics) -> Iterator[Rule]:
    """Better than a model without features; nothing where that was not made, or has no such metric."""
    metric, said = case.metric, case.holdout.dummy
    if said is None:
        return
    dummy = score(case.holdout.problem, case.holdout.target[case.unseen], take(said, case.unseen))[metric]
    if not math.isfinite(dummy):
        return
    value = metrics[metric]
    passed = improvement(value, dummy, metric) > noise(dummy)
    verb = "beats" if passed else "does not beat"
    ours, theirs = told_apart(value, dummy)
    yield Rule(
        name="better than the dummy baseline",
        kind="dummy",
        passed=passed,
        required=True,
        detail=f"{metric} {ours} {verb} the dummy baseline's {theirs}",
        value=value,
        limit=dummy,
        needed=None if passed else f"a better {metric} than {theirs}, which no knowledge of the features gives",
    )


def _constant(case: Case) -> Rule:
    """Not the same answer for every row."""
    said, target = case.challenger.predictions, case.holdout.target
    if isinstance(said, Predicted):
        answer = _one_class(case, said)
    else:
        answer = None if said is None else _one_value(said, target)
    return Rule(
        name="answers differ",
        kind="constant",
        passed=answer is None,
        required=True,
        detail=answer or "its answers differ as the rows do",
        needed="answers that depend on the features" if answer else None,
    )


def _one_class(case: Case, said: Predicted) -> str | None:
    problem, target = case.holdout.problem, case.holdout.target
    actual = np.bincount(positions(problem, target), minlength=len(problem.classes))
    if np.count_nonzero(actual) < 2:
        return None
    labels, counts = np.unique(said.labels, return_counts=True)
    most = int(counts.argmax())
    if len(target) - counts[most] > _FEW_OTHERS * (len(target) - actual.max()):
        return None
    varies = float(np.ptp(said.shares, axis=0).max()) > 1e-9
    if varies and case.metric in ("roc_auc", "log_loss"):
        return None  # these judge the probabilities, and of a rare class none need reach one half
    label = "none of the classes" if labels[most] < 0 else repr(problem.classes[labels[most]])
    others = np.count_nonzero(actual)
    return f"it answers {label} for {counts[most]} of {len(target)} rows, though these are of {others} classes"


def _one_value(said: np.ndarray, target: np.ndarray) -> str | None:
    spread = float(np.std(target))
    if spread == 0:
        return None
    near = 1e-9 * spread
    middle = float(np.median(said))
    same, alike = np.abs(said - middle) <= near, np.abs(target - np.median(target)) <= near
    if same.mean() < _NEARLY_ALL or alike.mean() > 0.9:
        return None
    return f"it answers {middle:.4g} for {int(same.sum())} of {len(target)} rows, though their target varies"


def _calibration(case: Case, limit: Limit) -> Rule:
    said = case.challenger.predictions
    rows = case.unseen
    if isinstance(said, Predicted):
        value, measure = expected_calibration_error(case, said), "an expected calibration error"
        what = f"the probability of its answers is wrong by {value:.4g} in the mean (expected calibration error)"
    else:
        value, measure = _bias(said, case.holdout.target, rows), "a mean error by the target's standard deviation"
        what = f"its mean error is {value:.4g} of the target's standard deviation"
    passed = value <= limit.max
    most = told_apart(value, limit.max)[1]
    return Rule(
        name=f"calibrated within {limit.max:g}",
        kind="calibration",
        passed=passed,
        required=limit.level == "required",
        detail=what if passed else f"{what}, more than the {most} that the policy allows",
        value=value,
        limit=limit.max,
        needed=None if passed else f"{measure} of at most {limit.max:g}",
    )


def _bias(said: np.ndarray | None, target: np.ndarray, rows: np.ndarray) -> float:
    spread = float(np.std(target[rows]))
    return abs(float(np.mean(said[rows] - target[rows]))) / spread if said is not None and spread > 0 else math.nan


def expected_calibration_error(case: Case, said: Predicted) -> float:
    """Mean difference between the probability of the predicted label and how often it is right.

    Over 10 bins of equally many rows; Nixon et al., Measuring Calibration in Deep Learning (2019). A label that is none
    of the classes is wrong with the probability that is left.
    """
    rows = case.unseen
    actual, labels = positions(case.holdout.problem, case.holdout.target[rows]), said.labels[rows]
    sure = np.where(labels >= 0, said.shares[rows].max(axis=1), 1.0)
    _values, group, counts = np.unique(sure, return_inverse=True, return_counts=True)
    right = (np.bincount(group, actual == labels) / counts)[group]  # equal probabilities share their bins evenly
    order = np.argsort(sure)
    bins = np.array_split(np.arange(len(actual)), min(_CALIBRATION_BINS, len(actual)))
    gaps = [abs(np.mean(right[order][b] - sure[order][b])) * len(b) for b in bins]
    return float(sum(gaps) / len(actual))
