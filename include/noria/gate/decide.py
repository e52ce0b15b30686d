"""From evidence to a decision."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from noria.gate import limits, quality, rival, slices, trust
from noria.gate.case import Case
from noria.gate.evidence import Challenger, Champion, Circumstances, Holdout
from noria.pipeline import Gate
from noria.records import Comparison, Decision, Rule, SliceResult, Verdict, policy_digest


@dataclass(frozen=True)
class _Judgement:
    """What one policy says.

    Attributes:
        rules: What a model has to be by itself, and on no slice.
        rivals: What it has to be beside the champion; the first one says whether it beats it.
        slices: What was found for each slice.
        comparison: What the rivals rest on, where there is one.
    """

    rules: list[Rule]
    rivals: list[Rule]
    slices: list[SliceResult]
    comparison: Comparison | None


def decide(
    challenger: Challenger, champion: Champion | None, policy: Gate, holdout: Holdout, circumstances: Circumstances
) -> Decision:
    """Judge a candidate.

    Args:
        challenger: The candidate with its predictions of the holdout.
        champion: With its predictions of the same rows; none if there is no champion yet.
        policy: The run's; the one of `circumstances.policy_now` must be met as well, but for its `mode`: that says
            what is done with the verdict and not what a model has to show, so a run may be a dry one where the folder
            enforces, and the other way round.
        holdout: The rows.
        circumstances: What is known of data, clock, policy and registry.

    Returns:
        `reject` if a required rule failed, `keep` if only the comparison with the champion did, else `promote`.
    """
    with np.errstate(all="ignore"):  # what is no number in the end has a rule of its own
        return _decide(Case(challenger, champion, holdout, circumstances), policy)


def _decide(case: Case, policy: Gate) -> Decision:
    champion, holdout = case.champion, case.holdout
    judged = _judge(case, policy)
    standing, behind = _held_to(case, policy, judged)
    rules = [*_trust(case, policy), *judged.rules, *standing]
    rivals = [*judged.rivals, *behind]
    failed = [rule for rule in rules if rule.required and not rule.passed]
    losing = [rule for rule in rivals if rule.required and not rule.passed]
    verdict: Verdict = "reject" if failed else "keep" if losing else "promote"
    deciding = failed or losing or judged.rivals[:1]
    nothing = dict.fromkeys(holdout.problem.metrics, math.nan)
    leaked = case.pair is not None and len(case.pair) < len(holdout)
    return Decision(
        verdict=verdict,
        rules=(*rules, *rivals),
        reasons=tuple(rule.detail for rule in deciding),
        candidate_metrics=case.metrics or nothing,
        champion_metrics=case.pair.metrics[1] if case.pair else None,
        compared_rows=len(case.pair) if case.pair and leaked else None,
        compared_metrics=case.pair.metrics[0] if case.pair and leaked else None,
        comparison=judged.comparison,
        slices=tuple(judged.slices),
        policy_sha256=policy_digest(policy),
        previous_champion=champion.version if champion else None,
        champion_version=champion.version if champion else None,
        dry_run=policy.mode == "dry_run",
    )


def _trust(case: Case, policy: Gate) -> list[Rule]:
    return [
        trust.registry(case),
        trust.clock(case),
        trust.policy_unchanged(case, policy),
        trust.own_measures(case, policy),
        trust.predictions(case),
        trust.leakage(case),
        trust.same_split(case),
    ]


def _judge(case: Case, policy: Gate) -> _Judgement:
    groups, found = slices.of(case, policy)
    better, comparison = rival.of(case, policy)
    rules, rivals = [*limits.of(case, policy), *quality.of(case, policy)], [better]
    unheld = case.champion is not None and comparison is None and better.required
    (rivals if unheld else rules).extend(groups)  # what the champion cannot be held against is no fault of the model
    return _Judgement(rules, rivals, found, comparison)


def _held_to(case: Case, policy: Gate, judged: _Judgement) -> tuple[list[Rule], list[Rule]]:
    """What the policy in the pipeline's folder asks for beyond the run's own: failures, and failures to win.

    `mode` may differ: it asks for nothing.
    """
    now = case.circumstances.policy_now
    if now is None or now.model_copy(update={"mode": policy.mode}) == policy:
        return [], []
    there = _judge(case, now)
    known = {_key(rule) for rule in (*judged.rules, *judged.rivals) if rule.required and not rule.passed}
    missed = [rule for rule in there.rules if rule.required and not rule.passed and _key(rule) not in known]
    behind = [rule for rule in there.rivals if rule.required and not rule.passed and _key(rule) not in known]
    return [_standing(rule, "policy") for rule in missed], [_standing(rule, "champion") for rule in behind]


def _key(rule: Rule) -> tuple[str, str]:
    return rule.kind, rule.name


def _standing(rule: Rule, kind: str) -> Rule:
    changes = {
        "kind": kind,
        "name": f"{rule.name} (policy of the pipeline's folder)",
        "detail": f"the policy in the pipeline's folder, which this run's does not meet, says: {rule.detail}",
    }
    return rule.model_copy(update=changes)
