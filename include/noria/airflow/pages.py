"""Which pages a run has: its report, and what Great Expectations saw."""

from __future__ import annotations

from noria.records import Report, Run, ValidationReport
from noria.workspace import Workspace, run_path


def find_pages(run: Run, workspace: Workspace) -> dict[str, str]:
    """Lake paths of the pages that exist: `report`, `data-docs`."""
    report = workspace.find(run, "report", Report)
    validation = find_validation(run, workspace)
    paths = {"report": report.html if report else None, "data-docs": validation.docs if validation else None}
    return {kind: path for kind, path in paths.items() if path}


def find_validation(run: Run, workspace: Workspace) -> ValidationReport | None:
    """What validation saw, also where that stopped the run and left no record."""
    from noria.stages.validate import VALIDATION_FILE

    try:
        seen = workspace.lake.read(run_path(run.pipeline.name, run.run_id, VALIDATION_FILE))
    except FileNotFoundError:
        return None
    return ValidationReport.model_validate_json(seen)
