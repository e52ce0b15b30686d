"""The page from its figures, and their key lines for a mail. What came with the data is escaped."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from noria.costs import focus
from noria.costs.money import about, money, share
from noria.costs.page.chart import HEIGHT, WIDTH, chart
from noria.costs.reconcile import PARTS
from noria.costs.summary import DAYS, BudgetUse, CurrencySummary, DearRun, Summary
from noria.report.formats import short_metric_name
from noria.report.page import templates

if TYPE_CHECKING:
    from jinja2 import Environment

_PAGES = "/noria"
"""Where Airflow's API server shows a run's pages, under the same path as the run."""


@cache
def _environment() -> Environment:
    from jinja2 import ChoiceLoader, PackageLoader

    shared = templates()
    assert shared.loader is not None  # noqa: S101  it is made with one
    environment = shared.overlay(loader=ChoiceLoader([PackageLoader("noria.costs.page"), shared.loader]))
    environment.filters = {
        **shared.filters,
        "money": money,
        "about": about,
        "report_url": report_url,
        "short_metric_name": short_metric_name,
        "share": share,
    }
    return environment


def render_costs(summary: Summary) -> str:
    """The page of one night."""
    return (
        _environment()
        .get_template("costs.html.j2")
        .render(
            summary=summary,
            charts={c.currency: chart(c.days) for c in summary.currencies},
            tones={c.currency: tone(c) for c in summary.currencies},
            said={c.currency: sentences(c) for c in summary.currencies},
            parts=PARTS,
            days=DAYS,
            version=focus.FOCUS_VERSION,
            width=WIDTH,
            height=HEIGHT,
        )
    )


def report_url(run: DearRun) -> str | None:
    """Where a run's page is: in Airflow if it ran there, else beside this page in the lake."""
    if run.report is None:
        return None
    if run.airflow_url is None:
        return f"../../{run.report}"
    base, _, path = run.airflow_url.rpartition("/dags/")
    return f"{base}{_PAGES}/dags/{path}/report"


def tone(figures: CurrencySummary) -> str:
    """The colour of the headline: bad where a budget is broken, a warning where it will be."""
    if any(use.share > 1 for use in figures.budgets):
        return "failed"
    if any(_is_pressing(use) for use in figures.budgets):
        return "reject"
    return "promote"


def sentences(figures: CurrencySummary) -> list[str]:
    """What there is to say about the month, in one to three sentences."""
    unit = figures.currency
    low, high = about(figures.forecast_low), about(figures.forecast_high)
    between = f", between {low} and {high}" if low != high else ""
    said = [
        f"The month has cost {money(figures.month)} {unit} so far and is forecast at {about(figures.forecast)} {unit}"
        f"{between}."
    ]
    said += [_of_budget(use, unit) for use in figures.budgets if use.pipeline is None or _is_pressing(use)]
    if figures.month_estimate == figures.month:
        said.append("All of it is estimated by the price sheet; nothing is invoiced yet.")
    elif figures.month_estimate:
        said.append(f"{share(figures.month_estimate, figures.month)} of the month is estimated, the rest is invoiced.")
    else:
        said.append("All of it is invoiced.")
    return said


def _is_pressing(use: BudgetUse) -> bool:
    """Whether a budget is broken, or will be by the forecast."""
    return use.share > 1 or (use.forecast is not None and use.forecast > use.limit)


def _of_budget(use: BudgetUse, unit: str) -> str:
    whose = "The budget" if use.pipeline is None else f"The budget of {use.pipeline}"
    spent = f"{whose} of {money(use.limit)} {unit} a {use.period} is used to {share(use.spent, use.limit)}"
    if use.forecast is None or use.forecast <= use.limit:
        return f"{spent}."
    return f"{spent}, and the forecast breaks it."


def key_lines(summary: Summary) -> list[str]:
    """What a mail says of a night, a line each."""
    lines: list[str] = []
    for c in summary.currencies:
        lines.append(f"{summary.day:%d %B}: {money(c.day)} {c.currency}, the day before {money(c.day_before)}.")
        lines += sentences(c)
        if c.reconciliation is not None:
            total, days = c.reconciliation.total, c.reconciliation.days
            over = "For the day with an invoice" if days == 1 else f"For {days} days with an invoice"
            lines.append(
                f"{over} it says {money(total.invoice)} {c.currency}, the estimates said {money(total.estimate)}."
            )
        if c.recommendations:
            best, number = c.recommendations[0], len(c.recommendations)
            more = f" ({number - 1} more on the page)" if number > 1 else ""
            whose = f"{best.pipeline}: " if best.pipeline else ""
            lines.append(f"About {about(best.saving)} {c.currency} a month can be saved. {whose}{best.advice}{more}")
    return lines or ["Nothing has cost anything yet."]
