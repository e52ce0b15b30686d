"""The promotion card: all that a decision rests on, in words for people and as JSON for programs.

`Card.to_json()` is also what `runs/<pipeline>/<run_id>/report/card.json` holds. Its keys:

- `pipeline`, `run_id`, `estimator`: what was judged.
- `state`: one of `STATES`; `verdict`: promote, keep or reject; `headline`, `sentences`: both in words.
- `metric`: the primary metric; `margin`: by how much it had to be better.
- `candidate_metrics`, `champion_metrics`: metric -> value on the rows of the holdout that neither has seen.
- `rules`: a list of name, kind, level (required or advisory), passed, value, limit, detail and needed.
- `comparison`: rows, leaked_rows, alpha, alpha_spent, looks, draws, rows_needed and `intervals`, a list of metric,
  candidate, champion, improvement (positive is better), low, high, confidence, p_value, method and detectable.
- `slices`: a list of column, value, rows, candidate, champion, improvement, low, high, margin, passed and judged.
- `luck`, `leaked`, `needed`, `findings`, `problems`: sentences; of luck, of rows left out, of what would have had to be
  true, of what was written to the registry around Noria, of what could not be read for this card.
- `approval`: approved, by, at and reason, or null; `waiting`, `dry_run`: true or false.
- `forced`: why and by whom it was promoted against the verdict, or null; `forced_versions`: version and why, for every
  forced version in the registry's history.
- `rollback`: how to go back, or null.
- `verdict_id`, `policy_sha256`, `previous_champion`, `registered_version`, `champion_version`.

Numbers that are not finite are the strings `NaN`, `Infinity` and `-Infinity`.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from noria.pipeline import ApprovalPolicy, Pipeline
from noria.records import (
    Approval,
    Candidate,
    ChampionVersion,
    Comparison,
    Decision,
    Interval,
    Metrics,
    Rule,
    SliceResult,
    Verdict,
)
from noria.records.figures import percent
from noria.report import wording
from noria.report.formats import metric_name, number, short_metric_name, signed
from noria.report.wording import STATES, State, slice_outcome

__all__ = ["STATES", "Card", "State", "card"]


@dataclass(frozen=True)
class Card:
    """A decision with everything that it rests on.

    Attributes:
        state: What became of the candidate.
        headline: That in two to four words.
        sentences: That in one or two sentences, without a term of statistics.
        margin: By how much the primary metric had to be better than the champion's.
        luck: How far luck could have made the difference, a sentence each.
        leaked: How many rows were left out because a model had seen them.
        needed: What would have had to be true, a sentence for each rule that failed and can say so.
        approval_text: Who approved or declined, when and why, or who is waited for.
        forced: Why the candidate was promoted against the verdict, and who did it.
        forced_versions: Versions of the history that were.
        rollback: How to go back to the champion before.
        findings: What was written to the registry around Noria.
        problems: What could not be read, so that this card may lack something.
    """

    pipeline: str
    run_id: str
    state: State
    verdict: Verdict
    headline: str
    sentences: tuple[str, ...]
    metric: str
    margin: float
    estimator: str | None
    candidate_metrics: Metrics
    champion_metrics: Metrics | None
    rules: tuple[Rule, ...]
    comparison: Comparison | None
    slices: tuple[SliceResult, ...]
    luck: tuple[str, ...]
    leaked: str | None
    needed: tuple[str, ...]
    approval: Approval | None
    approval_text: str | None
    waiting: bool
    dry_run: bool
    forced: str | None
    forced_versions: tuple[tuple[str, str], ...]
    rollback: str | None
    findings: tuple[str, ...]
    problems: tuple[str, ...]
    verdict_id: str | None
    policy_sha256: str
    previous_champion: str | None
    registered_version: str | None
    champion_version: str | None

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """One a metric, the primary one first; none where there was no champion to compare with."""
        return self.comparison.intervals if self.comparison else ()

    @property
    def needed_title(self) -> str:
        """Heading of `needed`."""
        failed = any(rule.required and not rule.passed for rule in self.rules)
        return "What would have had to be true" if failed else "What the policy advises besides"

    def to_json(self) -> dict[str, Any]:
        """The card as a JSON object; the module says what its keys mean."""
        approval = self.approval and self.approval.model_dump(mode="json", include={"approved", "by", "at", "reason"})
        values: dict[str, Any] = {
            "pipeline": self.pipeline,
            "run_id": self.run_id,
            "estimator": self.estimator,
            "state": self.state,
            "verdict": self.verdict,
            "headline": self.headline,
            "sentences": list(self.sentences),
            "metric": self.metric,
            "margin": self.margin,
            "candidate_metrics": self.candidate_metrics,
            "champion_metrics": self.champion_metrics,
            "rules": [_rule(rule) for rule in self.rules],
            "comparison": self.comparison and self.comparison.model_dump(),
            "slices": [s.model_dump() for s in self.slices],
            "luck": list(self.luck),
            "leaked": self.leaked,
            "needed": list(self.needed),
            "approval": approval,
            "waiting": self.waiting,
            "dry_run": self.dry_run,
            "forced": self.forced,
            "forced_versions": [{"version": v, "reason": why} for v, why in self.forced_versions],
            "rollback": self.rollback,
            "findings": list(self.findings),
            "problems": list(self.problems),
            "verdict_id": self.verdict_id,
            "policy_sha256": self.policy_sha256,
            "previous_champion": self.previous_champion,
            "registered_version": self.registered_version,
            "champion_version": self.champion_version,
        }
        return {key: _finite(value) for key, value in values.items()}

    def to_bytes(self) -> bytes:
        """`card.json` as it stands in the lake."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"

    def sections(self) -> list[tuple[str, list[str]]]:
        """The card in plain text: heading and lines, without control characters; empty sections are left out."""
        people = [self.approval_text] if self.approval_text else []
        found: list[tuple[str, Sequence[str]]] = [
            (self.headline, self.sentences),
            ("FORCED", [f"{self._name(v)} was promoted against the gate's verdict: {w}" for v, w in self._forced()]),
            ("Rules", [_rule_line(rule) for rule in self.rules]),
            (self.needed_title, self.needed),
            ("Compared with the champion", [_interval_line(interval) for interval in self.intervals]),
            ("Luck", self.luck),
            ("Rows left out", [self.leaked] if self.leaked else []),
            ("Groups of rows", [_slice_line(s, self.metric) for s in self.slices]),
            ("Approval", people),
            ("Written around the registry", self.findings),
            ("Not read", self.problems),
            ("To go back", [self.rollback] if self.rollback else []),
            ("Verdict", [f"id {self.verdict_id}"] if self.verdict_id else []),
        ]
        return [(title, [_plain(line) for line in lines]) for title, lines in found if lines]

    def lines(self) -> list[str]:
        """The card in plain text, for a mail or a terminal: sections divided by empty lines."""
        lines: list[str] = []
        for title, content in self.sections():
            lines += ["", _plain(title), *(f"  {line}" for line in content)]
        return lines[1:]

    def _forced(self) -> list[tuple[str, str]]:
        """What was forced: this candidate first, then other versions of the history."""
        own = [(self.registered_version or "", self.forced)] if self.forced is not None else []
        return own + [(v, why) for v, why in self.forced_versions if not (own and v == self.registered_version)]

    @staticmethod
    def _name(version: str) -> str:
        return f"Version {version}" if version else "The candidate"


def card(
    decision: Decision,
    candidate: Candidate | None,
    pipeline: Pipeline,
    *,
    run_id: str = "",
    history: Sequence[ChampionVersion] = (),
    problems: Sequence[str] = (),
    policy: ApprovalPolicy | None = None,
) -> Card:
    """The card of a decision.

    Args:
        decision: The last word on the candidate.
        candidate: The candidate itself, if its record is at hand.
        pipeline: The run's.
        run_id: Of the run.
        history: Versions in the registry; those that were forced are told in every card.
        problems: What could not be read, a sentence each.
        policy: Who has to agree, where the pipeline's folder has a say beside the run.
    """
    state = wording.state_of(decision)
    compared = decision.compared_metrics if decision.compared_metrics is not None else decision.candidate_metrics
    return Card(
        pipeline=pipeline.name,
        run_id=run_id,
        state=state,
        verdict=decision.verdict,
        headline=wording.headline(decision),
        sentences=wording.sentences(decision, pipeline),
        metric=pipeline.primary_metric,
        margin=wording.margin_of(decision, pipeline),
        estimator=candidate.estimator if candidate else None,
        candidate_metrics=compared,
        champion_metrics=decision.champion_metrics,
        rules=decision.rules,
        comparison=decision.comparison,
        slices=decision.slices,
        luck=wording.luck(decision, pipeline),
        leaked=wording.leaked(decision),
        needed=_needed(decision.rules),
        approval=decision.approval,
        approval_text=wording.approval(decision, pipeline, run_id, policy),
        waiting=decision.waiting,
        dry_run=decision.dry_run,
        forced=decision.forced,
        forced_versions=tuple((v.version, v.forced) for v in history if v.forced is not None),
        rollback=wording.rollback(decision, pipeline),
        findings=tuple(rule.detail for rule in decision.rules if rule.kind == "registry" and not rule.passed),
        problems=tuple(problems),
        verdict_id=decision.verdict_id,
        policy_sha256=decision.policy_sha256,
        previous_champion=decision.previous_champion,
        registered_version=decision.registered_version,
        champion_version=decision.champion_version,
    )


def _needed(rules: Sequence[Rule]) -> tuple[str, ...]:
    """What failed rules say of that, the required ones first."""
    failed = sorted((r for r in rules if not r.passed and r.needed), key=lambda r: not r.required)
    return tuple(f"{r.name}{'' if r.required else ' (advisory)'}: {r.needed}" for r in failed)


def _rule(rule: Rule) -> dict[str, Any]:
    values = rule.model_dump(exclude={"required"})
    return {**values, "level": level(rule)}


def level(rule: Rule) -> str:
    """What the policy calls it."""
    return "required" if rule.required else "advisory"


def _rule_line(rule: Rule) -> str:
    sign = "ok  " if rule.passed else "FAIL"
    numbers = ""
    if rule.value is not None:
        held = f", limit {number(rule.limit)}" if rule.limit is not None else ""
        numbers = f" ({number(rule.value)}{held})"
    return f"{sign}  {level(rule)}  {rule.name}{numbers}: {rule.detail}"


def _interval_line(i: Interval) -> str:
    seen = f"; {signed(i.detectable).removeprefix('+')} could be seen" if i.detectable is not None else ""
    return (
        f"{metric_name(i.metric)}: {number(i.candidate)}, champion {number(i.champion)}, improvement "
        f"{signed(i.improvement)} ({signed(i.low)} to {signed(i.high)} at {percent(i.confidence, 3)}, {i.method}{seen})"
    )


def _slice_line(s: SliceResult, metric: str) -> str:
    sign = "ok  " if s.passed else "FAIL"
    against = f", champion {number(s.champion)}" if s.champion is not None else ""
    better = f", improvement {signed(s.improvement)}" if s.improvement is not None else ""
    if s.low is not None and s.high is not None:
        better += f" ({signed(s.low)} to {signed(s.high)})"
    judged = f", may be worse by {number(s.margin)}" if s.judged else f", not judged: {slice_outcome(s)}"
    name = f"{s.column} = {s.value}, {s.rows:,} rows"
    figures = f"{short_metric_name(metric)} {number(s.candidate)}{against}{better}{judged}"
    return f"{sign if s.judged else '–   '}  {name}: {figures}"


def _finite(value: Any) -> Any:
    """The value with NaN and infinity as strings, which JSON has no numbers for."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _plain(text: str) -> str:
    """The text on one line, without characters that steer a terminal or turn the direction of writing."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in text)
