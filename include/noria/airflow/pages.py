"""Which pages a run has: its report, and what Great Expectations saw."""

from __future__ import annotations

from noria.records import Report, Run
from noria.workspace import Workspace


def find_pages(run: Run, workspace: Workspace) -> dict[str, str]:
    """Lake paths of the pages that exist: `report`, `data-docs`."""
    from noria.stages.validate import find_validation

    report = workspace.find(run, "report", Report)
    validation = find_validation(run, workspace)
    paths = {"report": report.html if report else None, "data-docs": validation.docs if validation else None}
    return {kind: path for kind, path in paths.items() if path}
