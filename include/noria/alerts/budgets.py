"""What mails say of budgets: runs that break one, and days that cost far more than usual."""

from __future__ import annotations

from noria.alerts.alert import Alert, Links
from noria.costs.budgets import Judgement
from noria.records import Failure, Run


def exceeding_alert(run: Run, judgement: Judgement, links: Links) -> Alert:
    """A run that breaks its budget and goes on, since the budget says so."""
    return Alert(
        run.pipeline.name,
        f"a run goes on that breaks a budget: {_first(judgement)}",
        kind="budget",
        severity="warning",
        cause=f"goes on: {_bounds(judgement)}",
        run_id=run.run_id,
        details=[*judgement.sentences, "budget.when_exceeded says whether such a run goes on, waits or ends."],
        links=links,
    )


def asking_alert(run: Run, judgement: Judgement, links: Links) -> Alert:
    """A run that breaks its budget and waits for a person; the first of the links is where to answer."""
    return Alert(
        run.pipeline.name,
        f"a run waits for approval, since it breaks a budget: {_first(judgement)}",
        kind="approval",
        severity="warning",
        cause=f"waits: {_bounds(judgement)}",
        run_id=run.run_id,
        details=[*judgement.sentences, "No job of it has run. No answer in time is a no."],
        links=links,
    )


def stopped_alert(run: Run, failure: Failure, links: Links) -> Alert:
    """A run that was ended before its first job."""
    headline, _, rest = failure.message.partition(". ")
    return Alert(
        run.pipeline.name,
        f"the run was stopped before its first job: {headline}",
        kind="budget",
        run_id=run.run_id,
        details=[rest] if rest else [],
        links=links,
    )


def _first(judgement: Judgement) -> str:
    return judgement.broken[0].words(judgement.estimate.currency) if judgement.broken else judgement.estimate.words


def _bounds(judgement: Judgement) -> str:
    return ", ".join(f"{bound.key} of {bound.pipeline or 'all'}" for bound in judgement.broken)
