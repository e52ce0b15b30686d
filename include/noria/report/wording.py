"""A decision in words that somebody understands who has never heard of a confidence interval."""

from __future__ import annotations

import math
from typing import Literal, get_args

from noria.pipeline import ApprovalPolicy, Pipeline
from noria.records import NOBODY, Approval, Decision, Interval, SliceResult
from noria.records.figures import ordinal, percent
from noria.report.formats import apart, metric_in_text, moment, signed

State = Literal["first", "promoted", "kept", "rejected", "waiting", "declined", "forced", "dry_run", "late"]
STATES: tuple[State, ...] = get_args(State)
"""What may become of a candidate."""

_HEADLINES: dict[State, str] = {
    "first": "First champion",
    "promoted": "Promoted",
    "kept": "Champion kept",
    "rejected": "Rejected",
    "waiting": "Waiting for approval",
    "declined": "Declined",
    "forced": "Promoted by force",
    "late": "Too late",
}
_DRY = {"promote": "Would be promoted", "keep": "Champion would be kept", "reject": "Would be rejected"}

_REJECTED = {
    "registry": "Somebody wrote to the registry without the gate; nothing is promoted until that is cleared up",
    "clock": "The clock of this machine cannot be right, so that neither ages nor the order of events can be trusted",
    "policy": "The rules that it is judged by were changed or loosened since it was trained",
    "predictions": "Its predictions cannot be used",
    "leakage": "It has seen rows that it was to be examined on, so that its figures say nothing",
    "plausible": "It is better than its training explains: a sign that it knew the rows it was examined on",
    "rows": "There are too few fresh rows to judge a model by",
    "validation": "The data did not pass its own checks",
    "freshness": "The data is too old",
    "finite": "One of its metrics is no finite number",
    "threshold": "It does not reach a bound that the policy sets",
    "dummy": "It is no better than having no model at all",
    "constant": "It gives the same answer whatever it is asked",
    "calibration": "Its answers are off by more than they may be: too sure, or too high or low throughout",
    "latency": "It answers too slowly",
    "model_size": "Its file is too large",
    "training_cost": "It costs too much to train",
    "slice": "It does worse than the champion for a group of rows that must not lose",
}

_NOT_COMPARED = {
    "keep": "The champion could not be compared with the candidate, and that is no reason to replace it.",
    "promote": "It was not compared with the champion, and the policy does not insist on that.",
}


def state_of(decision: Decision) -> State:
    """What became of the candidate."""
    approval = decision.approval
    special: dict[State, bool] = {
        "forced": decision.forced is not None,
        "declined": approval is not None and not approval.approved,
        "waiting": decision.waiting,
        "dry_run": decision.dry_run,
        "kept": decision.verdict == "keep",
        "rejected": decision.verdict == "reject",
        "late": not decision.new_champion,
        "first": decision.previous_champion is None,
    }
    return next((state for state, holds in special.items() if holds), "promoted")


def headline(decision: Decision) -> str:
    """The verdict in two to four words."""
    state = state_of(decision)
    return f"{_DRY[decision.verdict]} (dry run)" if state == "dry_run" else _HEADLINES[state]


def sentences(decision: Decision, pipeline: Pipeline) -> tuple[str, ...]:
    """The verdict in one to four sentences: what happened, why, and what is in use now."""
    why, stays = _why(decision, pipeline), _stays(decision)
    said: dict[State, tuple[str, ...]] = {
        "first": (f"Version {decision.champion_version} is the first champion.", *why),
        "promoted": (f"Version {decision.champion_version} is the new champion.", *why),
        "late": (f"Version {decision.registered_version} is registered, but came too late.", *why, stays),
        "waiting": ("The gate says promote, and a person has to agree.", *why, stays.replace(".", " until then.")),
        "declined": ("The gate said promote, and it was not approved.", stays),
        "forced": (_by_force(decision), *why),
        "dry_run": (*why, f"A dry run leaves the registry as it is: {_champion(decision)}."),
    }
    return said.get(state_of(decision), (*why, stays))


def _by_force(decision: Decision) -> str:
    said = {
        "promote": "as the gate would have done",
        "keep": "though the gate kept the champion",
        "reject": "though the gate rejected it",
    }
    return f"A person made it the champion, {_champion(decision)}, {said[decision.verdict]}."


def _champion(decision: Decision) -> str:
    return f"version {decision.champion_version}" if decision.champion_version else "no champion"


def _stays(decision: Decision) -> str:
    if decision.champion_version:
        return f"Version {decision.champion_version} stays in use."
    return "There is still no champion."


def _why(decision: Decision, pipeline: Pipeline) -> tuple[str, ...]:
    if decision.verdict == "reject":
        return _rejected(decision)
    rivals = [r for r in decision.rules if r.kind == "champion"]
    passed = all(r.passed for r in rivals)
    if decision.verdict == "keep" and passed:  # no rule did it: another champion meanwhile, or no answer in time
        return tuple(_sentence(reason) for reason in decision.reasons[:2])
    if decision.previous_champion is None:
        return ("There was no champion to beat; it meets every required rule.",)
    advised = ("The policy only advises that it beats the champion.",) if decision.verdict == "promote" else ()
    interval = primary(decision, pipeline.primary_metric)
    if decision.comparison is None or interval is None:
        return () if passed else (_NOT_COMPARED[decision.verdict],)
    ours, theirs = apart(interval.candidate, interval.champion)
    name, rows = metric_in_text(interval.metric), decision.comparison.rows
    figures = f"{name} {ours} against {theirs} on {rows:,} rows that neither has seen"
    said = f"{_compared(decision, interval, margin_of(decision, pipeline), passed=passed)}: {figures}."
    return (said,) if passed else (said, *advised)


def margin_of(decision: Decision, pipeline: Pipeline) -> float:
    """By how much the candidate had to beat the champion: the strictest of the policies that it was held to."""
    limits = [r.limit for r in decision.rules if r.kind == "champion" and r.limit is not None]
    return max(limits, default=pipeline.gate.margin)


def _rejected(decision: Decision) -> tuple[str, ...]:
    """A sentence for each of the first two kinds of rules that failed, with the numbers of the rule."""
    failed = {r.kind: r for r in reversed(decision.rules) if r.required and not r.passed and r.kind != "champion"}
    said = [f"{_REJECTED.get(kind, 'A required rule failed')}: {rule.detail}" for kind, rule in failed.items()]
    return tuple(_sentence(text) for text in said[::-1][:2]) or ("A required rule failed.",)


def primary(decision: Decision, metric: str) -> Interval | None:
    """The interval of the metric that decides, if there is one."""
    found = decision.comparison.intervals if decision.comparison else ()
    return next((i for i in found if i.metric == metric), None)


def _compared(decision: Decision, interval: Interval, margin: float, *, passed: bool) -> str:
    better = interval.improvement
    if passed:
        by = f" by more than {margin:g}" if margin else ""
        return f"It is better than version {decision.previous_champion}{by}, and by more than luck explains"
    if not math.isfinite(better):
        return "Which of the two is better cannot be told"
    if alike(interval):
        return "The candidate does exactly as well as the champion"
    if better <= 0:
        return f"The candidate is {'worse' if interval.high < 0 else 'not better'} than the champion"
    if better <= margin:
        return f"The candidate is better, but not by the {margin:g} that the policy asks for"
    return "The candidate is better, but not by more than luck explains"


def _sentence(text: str) -> str:
    """A text with a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def alike(interval: Interval) -> bool:
    """Whether there is no difference at all, not even in single rows."""
    return interval.improvement == interval.low == interval.high == 0


def _chances(interval: Interval, rows: int) -> list[str]:
    said = []
    if interval.detectable is not None and math.isfinite(interval.detectable):
        seen = f"{signed(interval.detectable).removeprefix('+')} {metric_in_text(interval.metric)}"
        said.append(f"With {rows:,} rows an improvement of {seen} would have been seen in 4 of 5 cases.")
    if math.isfinite(interval.p_value):
        chance = percent(interval.p_value) if interval.p_value >= 0.0005 else "less than 0.05 %"
        said.append(f"A model that is no better would have done as well in {chance} of such comparisons.")
    return said


def luck(decision: Decision, pipeline: Pipeline) -> tuple[str, ...]:
    """What these rows could have shown, how many candidates they were shown to, and how likely chance is."""
    comparison, first = decision.comparison, primary(decision, pipeline.primary_metric)
    if comparison is None or first is None:
        return ()
    said = ["The two models answer these rows alike: there is nothing that luck could explain."]
    if not alike(first):
        said = _chances(first, comparison.rows)
    spent, whole = percent(comparison.alpha_spent), percent(comparison.alpha)
    which = ordinal(comparison.looks) if comparison.looks > 1 else "first"
    cut = f"so the chance of error was cut from {whole} to {spent}"
    if comparison.looks == 1:
        cut = f"with a chance of error of {spent}; those that follow share the rest of {whole}"
    said.append(f"It is the {which} candidate judged against this champion on these rows, {cut}.")
    if comparison.rows_needed is not None:
        said.append(f"About {comparison.rows_needed:,} rows would show the difference that was found.")
    return tuple(said)


def slice_outcome(result: SliceResult) -> str:
    """What the rule says of a group of rows, in two or three words."""
    if result.judged:
        return "holds" if result.passed else "fails"
    if result.champion is None or result.improvement is None:
        return "no champion"
    return "too few rows" if math.isfinite(result.improvement) else "undefined"


def leaked(decision: Decision) -> str | None:
    """How many rows of the holdout were left out because a model had seen them."""
    comparison = decision.comparison
    if comparison is None or not comparison.leaked_rows:
        return None
    gone = comparison.leaked_rows
    rows = "1 row of the holdout was" if gone == 1 else f"{gone:,} rows of the holdout were"
    return f"{rows} left out, because one of the two models has seen them; {comparison.rows:,} remain."


def approval(decision: Decision, pipeline: Pipeline, run_id: str, policy: ApprovalPolicy | None = None) -> str | None:
    """Who approved or declined, when and why, or who is waited for: as a policy says, else the pipeline's own."""
    if decision.approval is not None:
        return _answered(decision.approval)
    if not decision.waiting:
        return None
    policy = policy or pipeline.gate.approval or ApprovalPolicy()
    who = ", ".join(policy.approvers) if policy.approvers else "anyone who may act on the DAG"
    command = f"noria promote {pipeline.name} --run {run_id or 'ID'} --approve --reason TEXT"
    return (
        f"It waits for {who}, at most {policy.timeout_hours:g} hours; after that the champion stays. "
        f"In Airflow the task approve asks; without Airflow: {command}"
    )


def _answered(answer: Approval) -> str:
    if answer.by == NOBODY:
        return f"Nobody answered in time, {moment(answer.at)}: {answer.reason or 'the champion stays'}"
    said = "Approved" if answer.approved else "Declined"
    against = f", compared with version {answer.previous_champion}" if answer.previous_champion else ""
    return f"{said} by {answer.by}, {moment(answer.at)}{against}: {answer.reason or 'no reason given'}"


def rollback(decision: Decision, pipeline: Pipeline) -> str | None:
    """How to go back to the champion before, where this decision made a new one."""
    if not decision.new_champion or decision.previous_champion is None:
        return None
    return f"noria rollback {pipeline.name} --to {decision.previous_champion} --reason TEXT"
