"""Write a night's page and its figures into the lake; once more replaces them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date

from noria.costs.page.render import render_costs
from noria.costs.summary import Summary, summarise
from noria.workspace import Workspace, to_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CostReport:
    """What was written.

    Attributes:
        html: Lake path of the page.
        json: Lake path of the same figures for programs.
        summary: The figures.
    """

    html: str
    json: str
    summary: Summary


def report_path(day: date, kind: str) -> str:
    """Lake path of a day's `html` or `json`."""
    return f"reports/costs/{day:%Y-%m-%d}.{kind}"


def write_report(workspace: Workspace, day: date) -> CostReport:
    """Write `reports/costs/<day>.html` and `.json`.

    Args:
        workspace: The world.
        day: The last day (UTC) to tell of.

    Raises:
        SpecError: The price sheet is wrong.
        StorageError: The lake cannot be read or written.
    """
    summary = summarise(workspace, day)
    report = CostReport(report_path(day, "html"), report_path(day, "json"), summary)
    workspace.lake.replace(report.json, to_json(summary))
    workspace.lake.replace(report.html, render_costs(summary).encode())
    log.info("the costs of %s: %s", day, workspace.lake.url(report.html))
    return report
