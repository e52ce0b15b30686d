"""What a mail says of a run that takes longer than its pipeline allows."""

from __future__ import annotations

from datetime import datetime

from noria.alerts.alert import Alert, Links
from noria.alerts.failures import last_lines, unfinished_stage
from noria.costs.budgets import find_judgement
from noria.records import BEFORE_STAGES, STAGES, Run
from noria.workspace import APPROVAL, Workspace, run_path


def late_alert(
    pipeline: str,
    run_id: str,
    workspace: Workspace,
    *,
    run: Run | None,
    minutes: float,
    begun: datetime,
    links: Links,
) -> Alert:
    """A run that has not ended in time; it goes on.

    Args:
        pipeline: Its name.
        run_id: The run in Noria's form.
        workspace: Where its records are.
        run: The run; none if no task of it has begun.
        minutes: How long it may take.
        begun: When it was queued, in UTC.
        links: Label and address.
    """
    asks = asks_people(run, workspace) if run else ""
    stage = unfinished_stage(run, workspace) if run and not asks else ""
    where = f"is in {stage}" if stage else "waits for people to answer" if asks else "has not begun"
    log = last_lines(workspace.settings.log_file(pipeline, run_id, stage)) if stage else ()
    return Alert(
        pipeline,
        f"the run is late: after {minutes:g} minutes it {where}",
        kind="late run",
        severity="warning",
        cause=f"run {run_id}",
        run_id=run_id,
        details=[
            f"It was queued on {begun:%Y-%m-%d} at {begun:%H:%M} UTC and goes on; another mail comes only if it fails.",
            "`alerts.deadline_minutes` in pipeline.yaml says how long a run may take.",
        ],
        links=links,
        log_stage=stage,
        log=log,
    )


def asks_people(run: Run, workspace: Workspace) -> str:
    """Where a run waits for the answer of a person: before its stages, or in `release`; or nothing."""
    stage = unfinished_stage(run, workspace)
    if stage == STAGES[0]:
        judgement = find_judgement(run, workspace)
        return BEFORE_STAGES if judgement and judgement.action == "approve" and judgement.answer is None else ""
    asked = workspace.asked(run) if stage == "release" else None
    answered = workspace.lake.exists(run_path(run.pipeline.name, run.run_id, APPROVAL))
    return stage if asked and asked.waiting and not answered else ""
