"""What mails say of budgets: runs that break one, days that cost far more than usual, and costs that none counts."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from noria.alerts.alert import Alert, Links
from noria.alerts.outbox import post
from noria.costs.budgets import Judgement
from noria.costs.money import money
from noria.costs.notices import AnomalyNotice, BudgetNotice, CurrencyNotice, Notice, notices, tell
from noria.costs.sheet import PriceSheet
from noria.pipeline import Pipeline
from noria.pipeline.alerts import AlertSeverity
from noria.records import Failure, Run
from noria.workspace import Workspace

OWNER = "costs"
"""Stands where a pipeline's name would, in mails about everything together."""
_SEVERITIES: dict[int, AlertSeverity] = {50: "info", 80: "warning", 100: "error"}


def exceeding_alert(run: Run, judgement: Judgement, links: Links) -> Alert:
    """A run that breaks its budget and goes on, since the budget says so."""
    return Alert(
        run.pipeline.name,
        f"a run goes on that breaks a budget: {_first(judgement)}",
        kind="budget",
        severity="warning",
        cause=f"goes on: {_bounds(judgement)}",
        run_id=run.run_id,
        details=[*judgement.sentences, "when_exceeded of the budget says whether such a run goes on, waits or ends."],
        links=links,
    )


def asking_alert(run: Run, judgement: Judgement, links: Links) -> Alert:
    """A run that breaks its budget and waits for a person; the first of the links is where to answer."""
    return Alert(
        run.pipeline.name,
        f"a run waits for approval, since it breaks a budget: {_first(judgement)}",
        kind="approval",
        severity="warning",
        cause=f"run {run.run_id}",  # each question is one of its own
        run_id=run.run_id,
        details=[*judgement.sentences, "No job of it has run. No answer in time is a no."],
        links=links,
    )


def stopped_alert(run: Run, failure: Failure, judgement: Judgement | None, links: Links) -> Alert:
    """A run that its budget, or a person, has ended before its first job."""
    by_itself = judgement is not None and judgement.answer is None
    headline, _, rest = failure.message.partition(". ")
    return Alert(
        run.pipeline.name,
        f"the run was stopped before its first job: {headline}",
        kind="budget",
        # The same bounds again are no news; each answer is.
        cause=f"stopped: {_bounds(judgement)}" if judgement and by_itself else f"run {run.run_id}",
        run_id=run.run_id,
        log_stage=failure.stage,
        details=[rest] if rest else [],
        links=links,
    )


def budget_alert(notice: BudgetNotice, links: Links) -> Alert:
    """A bound of which half, four fifths or all is spent, or will be."""
    whose = notice.pipeline or OWNER
    limit, forecast = money(notice.limit, notice.currency), notice.forecast
    period = "day" if notice.key == "per_day" else "month"
    is_spent = notice.kind == "spent"
    amount = notice.spent if is_spent else forecast.total
    word = "are spent" if is_spent else "will be spent by its end"
    details = [f"{money(notice.spent, notice.currency)} of the {period}'s {limit} are spent so far."]
    if forecast.total != notice.spent:
        interval = f"{money(forecast.low, notice.currency)} to {money(forecast.high, notice.currency)}"
        details.append(
            f"At its end it will be about {money(forecast.total, notice.currency)} ({interval} in 8 of 10 cases)."
        )
    place = f"budget.{notice.key} of pipeline.yaml" if notice.pipeline else f"total.{notice.key} of the price sheet"
    return Alert(
        whose,
        f"{money(amount, notice.currency)} {word}, {_percent(amount, notice.limit)} of the budget for {notice.period}",
        kind="budget",
        severity=_severity(notice),
        cause=f"{notice.kind} {notice.percent} % of {notice.key} {limit} {notice.period}",
        details=[*details, f"The bound is {place}. What happens to runs that break it: when_exceeded beside it."],
        links=links,
    )


def anomaly_alert(notice: AnomalyNotice, links: Links) -> Alert:
    """A day that cost far more or less than usual."""
    odd, currency = notice.anomaly, notice.currency
    word = "more" if odd.excess > 0 else "less"
    return Alert(
        notice.pipeline or OWNER,
        f"{odd.day} cost {money(odd.cost, currency)}, {money(abs(odd.excess), currency)} {word} than usual",
        kind="cost anomaly",
        severity="warning",
        cause=f"{word} than usual on {odd.day}",
        details=[f"Usual is {money(odd.usual, currency)}, the median of {odd.likeness}."],
        header=("Part", "That day", "Usually"),
        rows=[(part.name, money(part.cost, currency), money(part.usual, currency)) for part in notice.parts],
        links=links,
    )


def currency_alert(notice: CurrencyNotice, links: Links) -> Alert:
    """Costs that no budget counts, since they are in another currency."""
    kind = "estimates" if notice.is_estimate else "charges"
    return Alert(
        OWNER,
        f"{kind} in {notice.currency} are held against no budget",
        kind="budget",
        severity="warning",
        cause=f"{kind} in {notice.currency} from {notice.first:%Y-%m}",
        details=[notice.words],
        links=links,
    )


def tell_night(workspace: Workspace, pipelines: Sequence[Pipeline], sheet: PriceSheet, links: Links) -> list[str]:
    """Put what a night has to tell into the outbox, each thing once; the subjects, and what is not counted in words.

    Mails about a pipeline go to whoever hears of its runs, those about everything to whoever gets the cost report, or
    to all of them where nobody does.

    Raises:
        StorageError: What was spent cannot be read, or the outbox cannot be written to.
    """
    policies = {pipeline.name: pipeline.alerts for pipeline in pipelines}
    everyone = tuple(sorted({mail for policy in policies.values() for mail in policy.emails}))
    subjects = []

    def say(notice: Notice) -> bool:
        alert = _alert(notice, links)
        policy = policies.get(alert.pipeline)
        is_posted = post(alert, policy.emails if policy else sheet.report.emails or everyone, policy, workspace)
        if is_posted:
            subjects.append(alert.subject)
        return is_posted

    found = notices(workspace, pipelines, sheet)
    tell(found, workspace, say)
    return [*subjects, *(notice.words for notice in found if isinstance(notice, CurrencyNotice))]


def _alert(notice: Notice, links: Links) -> Alert:
    if isinstance(notice, BudgetNotice):
        return budget_alert(notice, links)
    return anomaly_alert(notice, links) if isinstance(notice, AnomalyNotice) else currency_alert(notice, links)


def _severity(notice: BudgetNotice) -> AlertSeverity:
    """Money that is gone weighs more than money that may go."""
    if notice.kind == "forecast":
        return "warning" if notice.percent == 100 else "info"
    return _SEVERITIES[notice.percent]


def _percent(amount: Decimal, limit: Decimal) -> str:
    return f"{float(100 * amount / limit):.0f} %"


def _first(judgement: Judgement) -> str:
    return judgement.broken[0].words(judgement.estimate.currency) if judgement.broken else judgement.estimate.words


def _bounds(judgement: Judgement) -> str:
    return ", ".join(f"{bound.key} of {bound.pipeline or 'all'}" for bound in judgement.broken)
