"""What the policy asks of the data, and of what the model costs."""

from __future__ import annotations

from noria.gate.case import Case
from noria.gate.words import duration, told_apart
from noria.pipeline import Gate, Level
from noria.pipeline.policy import Limit
from noria.records import Rule


def of(case: Case, policy: Gate) -> list[Rule]:
    """Every rule about data and cost that the policy has."""
    limits, size = policy.limits, case.challenger.model_bytes
    rules = [
        enough_rows(case, policy),
        validation(case, policy.validation),
        *([freshness(case, policy.freshness.max_days, policy.freshness.level)] if policy.freshness else []),
    ]
    asked = (
        ("latency", limits.latency_milliseconds, case.challenger.latency_milliseconds, "a prediction takes {} ms"),
        ("model_size", limits.model_megabytes, None if size is None else size / 1e6, "the model has {} MB"),
        ("training_cost", limits.training_vcpu_seconds, case.challenger.training_vcpu_seconds,
         "training took {} vCPU seconds"),
    )  # fmt: skip
    rules += [_limit(kind, limit, value, words) for kind, limit, value, words in asked if limit is not None]
    return rules


def enough_rows(case: Case, policy: Gate) -> Rule:
    """The holdout has enough rows that the candidate has not seen."""
    count, least = int(case.unseen.sum()), policy.min_rows
    passed = count >= least
    said = f"the holdout has {count} rows that the candidate has not seen"
    return Rule(
        name=f"at least {least} holdout rows",
        kind="rows",
        passed=passed,
        required=True,
        detail=said if passed else f"{said}, which is fewer than the {least} that the policy asks for",
        value=count,
        limit=least,
        needed=None if passed else f"{least - count} more rows in the holdout",
    )


def validation(case: Case, level: Level) -> Rule:
    """The snapshot has passed its validation."""
    report, snapshot = case.circumstances.validation, case.circumstances.snapshot.snapshot_id
    if report is None:
        passed, detail = False, f"snapshot {snapshot} was not validated"
    elif report.snapshot_id != snapshot:
        passed, detail = False, f"the validation is of snapshot {report.snapshot_id}, not of {snapshot}"
    else:
        passed = report.success
        failed = [r.expectation for r in report.results if not r.success and r.severity == "critical"]
        what = f": {', '.join(sorted(set(failed)))}" if failed else ""
        detail = f"snapshot {snapshot} {'passed' if passed else 'did not pass'} its validation{what}"
    needed = None if passed else "data that meets every critical expectation of the pipeline"
    return Rule(
        name="data validated",
        kind="validation",
        passed=passed,
        required=level == "required",
        detail=detail,
        needed=needed,
    )


def freshness(case: Case, most: float, level: Level) -> Rule:
    """The data is not too old."""
    age = case.circumstances.now - case.circumstances.snapshot.fetched_at
    days = age.total_seconds() / 86400
    passed = days <= most
    said = f"the data was fetched {duration(age)} ago"
    return Rule(
        name=f"data at most {most:g} days old",
        kind="freshness",
        passed=passed,
        required=level == "required",
        detail=said if passed else f"{said}, more than the {most:g} days that the policy allows",
        value=days,
        limit=most,
        needed=None if passed else f"data that was fetched within {most:g} days",
    )


_NAMES = {
    "latency": "at most {} ms a prediction",
    "model_size": "at most {} MB of model",
    "training_cost": "at most {} vCPU seconds of training",
}
_SUBJECTS = {"latency": "its latency", "model_size": "its size", "training_cost": "the cost of its training"}


def _limit(kind: str, limit: Limit, value: float | None, words: str) -> Rule:
    passed = value is not None and value <= limit.max
    name = _NAMES[kind].format(f"{limit.max:g}")
    if value is None:
        detail = f"{_SUBJECTS[kind]} was not measured"
    elif passed:
        detail = words.format(f"{value:.4g}")
    else:
        found, most = told_apart(value, limit.max)
        detail = f"{words.format(found)}, more than the {most} that the policy allows"
    return Rule(
        name=name,
        kind=kind,
        passed=passed,
        required=limit.level == "required",
        detail=detail,
        value=value,
        limit=limit.max,
        needed=None if passed else name,
    )
