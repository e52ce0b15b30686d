"""What a mail says of a run that ended badly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from noria.alerts.alert import LINE_LENGTH, Alert, Links, same
from noria.alerts.budgets import stopped_alert
from noria.costs.budgets import find_judgement
from noria.errors import BudgetError, ExitCode
from noria.records import BEFORE_STAGES, STAGES, Failure, Run, stages_of
from noria.workspace import Workspace

LOG_LINES = 20


def failure_alert(name: str, run_id: str, run: Run | None, workspace: Workspace, links: Links) -> Alert:
    """A run that ended badly: its data failed validation, or a stage failed.

    Args:
        name: The pipeline.
        run_id: The run in Noria's form.
        run: The run; none if it could not be created.
        workspace: Where its records are.
        links: Label and address.
    """
    if run is None:
        log = last_lines(workspace.settings.log_file(name, run_id, STAGES[0]))
        happened = f"the run could not begin{because(log)}"
        return Alert(name, happened, kind="failed run", run_id=run_id, links=links, log_stage=STAGES[0], log=log)
    failure = workspace.failure(run)
    stage = failure.stage if failure else unfinished_stage(run, workspace)
    log_of = STAGES[0] if stage == BEFORE_STAGES else stage  # where the task before the stages tells its errors
    log = last_lines(workspace.settings.log_file(name, run_id, log_of))
    if failure is None:
        return Alert(
            name,
            f"the run failed in {stage}: it ended without a word",
            kind="failed run",
            run_id=run_id,
            details=["Perhaps it was killed, or memory ran out."],
            links=links,
            log_stage=stage,
            log=log,
        )
    if failure.error == BudgetError.__name__:
        return stopped_alert(run, failure, find_judgement(run, workspace), links)
    if failure.exit_code == ExitCode.INVALID_DATA:
        return _invalid_alert(run, failure, workspace, links, log)
    return Alert(
        name,
        f"the run failed in {stage}: {_headline(failure.message)}",
        kind="failed run",
        cause=_cause(failure),
        run_id=run_id,
        details=_rest(failure.message),
        links=links,
        log_stage=stage,
        log=log,
    )


def _invalid_alert(run: Run, failure: Failure, workspace: Workspace, links: Links, log: Sequence[str]) -> Alert:
    from noria.stages.validate import find_validation

    validation = find_validation(run, workspace)
    failed = [r for r in validation.results if not r.success] if validation else []
    return Alert(
        run.pipeline.name,
        f"the data failed validation: {_headline(failure.message)}",
        kind="failed validation",
        cause=", ".join(sorted(f"{r.expectation} {r.column or ''}" for r in failed)) or _cause(failure),
        run_id=run.run_id,
        details=[*_rest(failure.message), "No model was trained; the champion stays."],
        header=("Expectation", "Column", "Severity", "Expected", "Observed") if failed else (),
        rows=[(r.expectation, r.column or "", r.severity, r.expected, r.observed) for r in failed],
        links=links,
        log_stage=failure.stage,
        log=log,
    )


def unfinished_stage(run: Run, workspace: Workspace) -> str:
    """Where a failed run stopped: the first stage without a record."""
    stages = stages_of(run.pipeline)
    return next((s for s in stages if workspace.stage_run(run, s) is None), stages[-1])


def last_lines(file: Path) -> Sequence[str]:
    """The end of a log; nothing where the task ran on another machine, or never began."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - 64 * 1024))
            return stream.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    except FileNotFoundError:
        return ()


def because(log: Sequence[str]) -> str:
    """The last error of a log as the end of a sentence, or nothing."""
    return f": {log[-1].removeprefix('ERROR ')}" if log else ""


def _cause(failure: Failure) -> str:
    """What two failures have in common that are one trouble."""
    return f"{failure.stage}: {failure.error}: {same(_headline(failure.message)[:LINE_LENGTH])}"


def _headline(message: str) -> str:
    return message.partition("\n")[0]


def _rest(message: str) -> Sequence[str]:
    return message.splitlines()[1:]
