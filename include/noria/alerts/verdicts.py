"""What mails say of a verdict and of a rollback: the facts of the promotion card under a subject that says enough."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from noria.alerts.alert import Alert, Kind, Links
from noria.alerts.failures import because, last_lines
from noria.errors import NoriaError
from noria.pipeline import Pipeline, Threshold
from noria.pipeline.alerts import AlertSeverity
from noria.records import NOBODY, Candidate, ChampionVersion, Decision, LedgerEntry, Metrics, Rollback, Run
from noria.workspace import Workspace

if TYPE_CHECKING:
    from noria.report.card import Card, State

log = logging.getLogger(__name__)
_KINDS: dict[State, tuple[Kind, AlertSeverity]] = {
    "first": ("new champion", "info"),
    "promoted": ("new champion", "info"),
    "forced": ("new champion", "error"),
    "rejected": ("rejected candidate", "warning"),
    "waiting": ("approval", "info"),
    "declined": ("approval", "warning"),
    "kept": ("news", "warning"),
}


def verdict_alert(run: Run, workspace: Workspace, links: Links) -> Alert | None:
    """What became of a run's candidate, where that is news: nothing of a dry run, nor where the champion just stays."""
    from noria.report.card import card
    from noria.stages.report import waited_for

    decision = workspace.decision(run)
    if decision is None:
        return None
    candidate = workspace.find(run, "train", Candidate)
    facts = card(decision, candidate, run.pipeline, run_id=run.run_id)
    happened = _happened(decision, facts)
    if happened is None:
        return None
    history, problems = _history(run, workspace)
    policy = waited_for(run, workspace)
    facts = card(
        decision, candidate, run.pipeline, run_id=run.run_id, history=history, problems=problems, policy=policy
    )
    header, rows = _metrics_table(run.pipeline, decision, candidate)
    kind, severity = _KINDS.get(facts.state, ("news", "error"))
    return Alert(
        run.pipeline.name,
        happened,
        good=severity == "info",
        kind=kind,
        severity="critical" if facts.findings else severity,
        # A candidate that fails again for the same reasons is no news; whatever else becomes of one is.
        cause="" if facts.state in ("rejected", "kept") else f"{facts.state} {run.run_id}",
        run_id=run.run_id,
        sections=facts.sections(),
        header=header,
        rows=rows,
        links=links,
    )


def forced_alerts(run: Run, workspace: Workspace, links: Links) -> Sequence[Alert]:
    """What people have promoted by force since the run before this one: a command sends no mail of its own."""
    try:
        entries = list(workspace.ledger(run.pipeline.name).entries())
    except NoriaError as error:  # a history in trouble must not keep other mails back; `noria doctor` tells it
        log.warning("whether something was promoted by force is not known: %s", error)
        return ()
    own = next((number for number, entry in enumerate(entries) if entry.run_id == run.run_id), len(entries))
    since = itertools.takewhile(lambda entry: entry.event in ("forced", "rolled_back"), reversed(entries[:own]))
    forced = [entry for entry in since if entry.event == "forced"]
    if not forced:
        return ()
    history, _problems = _history(run, workspace)
    reasons = {version.version: version.forced for version in history}
    return [_forced(entry, reasons.get(entry.version or ""), links) for entry in reversed(forced)]


def waiting_alert(run: Run, workspace: Workspace, links: Links) -> Alert | None:
    """A candidate that waits for a person; the first of the links is where to answer."""
    return verdict_alert(run, workspace, links)


def rollback_alert(rollback: Rollback, links: Links) -> Alert:
    """A former champion that a person brought back."""
    stands = rollback.champion_version == rollback.version
    newer = f"; by now version {rollback.champion_version} is the champion"
    return Alert(
        rollback.pipeline,
        f"rolled back to version {rollback.version} by {rollback.by}: {rollback.reason}{'' if stands else newer}",
        kind="rollback",
        severity="warning",
        cause=rollback.verdict_id,
        details=[
            f"The champion before was version {rollback.before}.",
            f"Version {rollback.version} loads and scores the data of run {rollback.run_id}.",
        ],
        header=("Metric", f"Version {rollback.version}"),
        rows=[(metric, _number(value)) for metric, value in rollback.metrics.items()],
        links=links,
    )


def failed_rollback_alert(pipeline: str, run_id: str, workspace: Workspace, links: Links) -> Alert:
    """A rollback that did not happen."""
    log = last_lines(workspace.settings.log_file(pipeline, run_id, "rollback"))
    return Alert(
        pipeline,
        f"the rollback failed{because(log)}",
        kind="rollback",
        run_id=run_id,
        details=[
            "The champion is the one that it was, unless the failure came after the registry was written to: then the "
            "rollback is unfinished, and to clear the task completes it.",
            f"`noria history {pipeline}` and `noria doctor` tell.",
        ],
        links=links,
        log_stage="rollback",
        log=log,
    )


def _forced(entry: LedgerEntry, reason: str | None, links: Links) -> Alert:
    return Alert(
        entry.pipeline,
        f"PROMOTED BY FORCE past the gate, version {entry.version}: {reason or entry.by}",
        kind="new champion",
        cause=f"forced {entry.verdict_id}",
        details=[
            f"It was on {entry.at:%Y-%m-%d %H:%M} UTC; the candidate is of run {entry.run_id}.",
            f"The champion before was version {entry.champion_before or '(none)'}.",
            *(f"The gate had said: {said}" for said in entry.reasons),
        ],
        links=links,
    )


def _happened(decision: Decision, facts: Card) -> str | None:
    """One line with the number that matters most, or none where there is no news."""
    if facts.findings:
        return f"THE REGISTRY WAS WRITTEN TO AROUND THE GATE, nothing is promoted: {facts.findings[0]}"
    value, than = _figures(decision, facts.metric)
    reasons = "; ".join(decision.reasons)
    champion = f"new champion, version {decision.champion_version}: {value}{than}"
    return {
        "first": champion,
        "promoted": champion,
        "forced": f"PROMOTED BY FORCE past the gate, version {decision.registered_version}: {decision.forced}",
        "rejected": f"candidate rejected ({value}): {reasons}",
        "waiting": f"candidate waits for approval: {value}{than}",
        "declined": _declined(decision),
        "kept": _kept(decision, reasons),
    }.get(facts.state)


def _declined(decision: Decision) -> str | None:
    answer = decision.approval
    if answer is None:
        return None
    if answer.by == NOBODY:
        return f"candidate not approved in time, the champion stays: {answer.reason}"
    return f"candidate declined by {answer.by}: {answer.reason}"


def _kept(decision: Decision, reasons: str) -> str | None:
    """A champion that stays is news where somebody had agreed to another one, or where none can replace it."""
    if decision.approval is not None:
        return f"approved by {decision.approval.by}, but the champion stays: {reasons}"
    rule = next((r for r in decision.rules if r.kind == "champion" and not r.passed), None)
    if rule is None or decision.previous_champion is None or (decision.comparison and decision.comparison.intervals):
        return None
    return f"WARNING, the champion, version {decision.previous_champion}, cannot be compared: {rule.detail}"


def _figures(decision: Decision, metric: str) -> tuple[str, str]:
    """The candidate's primary metric, and what it was before; side by side they are of the same rows."""
    before, own = decision.champion_metrics, decision.candidate_metrics.get(metric)
    value = f"{metric} {_number(own)}"
    if decision.compared_metrics:
        value = f"{metric} {_number(decision.compared_metrics[metric])} on {decision.compared_rows} holdout rows"
    return value, f", before {_number(before[metric])}" if before and metric in before else ", the first one"


def _history(run: Run, workspace: Workspace) -> tuple[Sequence[ChampionVersion], Sequence[str]]:
    """The registry's versions if one was forced, which the ledger tells: the registry takes seconds to ask."""
    try:
        if not any(entry.event == "forced" for entry in workspace.ledger(run.pipeline.name).entries()):
            return (), ()
    except NoriaError as error:
        log.warning("whether a version was forced is asked of the registry alone: %s", error)
    try:
        return workspace.registry.history(run.pipeline.name), ()
    except Exception as error:  # a registry in trouble must not keep the mail back
        return (), (f"the registry: {error}",)


def _metrics_table(
    pipeline: Pipeline, decision: Decision, candidate: Candidate | None
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    columns: dict[str, Metrics] = {"Candidate": decision.candidate_metrics}
    unseen = f" on {decision.compared_rows} rows" if decision.compared_rows is not None else ""
    if decision.compared_metrics:
        columns[f"Candidate{unseen}"] = decision.compared_metrics
    if decision.champion_metrics:
        columns[f"Champion before{unseen}"] = decision.champion_metrics
    columns.update({f"Baseline {n}": m for n, m in (candidate.baselines if candidate else {}).items()})
    required = {t.metric: _bound(t) for t in pipeline.gate.thresholds}
    rows = [
        (metric, *(_number(values.get(metric)) for values in columns.values()), required.get(metric, ""))
        for metric in pipeline.metrics
    ]
    return ("Metric", *columns, "Required"), rows


def _bound(threshold: Threshold) -> str:
    bound = f"at least {_number(threshold.min)}" if threshold.min is not None else f"at most {_number(threshold.max)}"
    return bound if threshold.level == "required" else f"{bound}, advisory"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
