"""What mails say of costs, apart from budgets: the key lines of a night's report, and invoices that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence

from noria.alerts.alert import Alert, Links
from noria.costs.money import money
from noria.costs.page import key_lines
from noria.costs.summary import Summary

OWNER = "costs"
"""Stands where a pipeline's name would: these mails are about all of them."""
_MOST_PIPELINES = 10


def report_alert(summary: Summary, links: Links) -> Alert:
    """The key lines of a night's report, and what each pipeline has cost; one mail a day, however often it is made."""
    headline, *lines = key_lines(summary)
    header, rows = _table(summary)
    return Alert(
        OWNER,
        headline,
        good=True,
        kind="cost report",
        cause=f"report of {summary.day}",
        details=[*lines, *summary.notes],
        header=header,
        rows=rows,
        links=links,
    )


def refused_alert(refused: Sequence[str], links: Links) -> Alert:
    """Deliveries of Cost Management that cannot be used."""
    count = f"{len(refused)} deliveries" if len(refused) > 1 else "a delivery"
    return Alert(
        OWNER,
        f"{count} of Cost Management cannot be used",
        kind="cost report",
        severity="warning",
        cause="deliveries that cannot be used",
        details=[
            *refused,
            "Their days keep what they had. A delivery that can be used, or the removal of its folder, ends this.",
        ],
        links=links,
    )


def _table(summary: Summary) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Pipelines by what they cost; of each currency the dearest."""
    rows = [
        (line.name or "without a tag", c.currency, money(line.day), money(line.month))
        for c in summary.currencies
        for line in c.shown(c.by_pipeline)[:_MOST_PIPELINES]
    ]
    return (("Pipeline", "Currency", f"{summary.day:%d %B}", "Month so far"), rows) if rows else ((), ())
