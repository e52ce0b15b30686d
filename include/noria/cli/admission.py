"""Whether a run of the command line may begin: its budget, told, asked about on the terminal, or final."""

from __future__ import annotations

import sys

from rich.console import Console

from noria.cli.hand import stated, user
from noria.costs.budgets import Answer, Judgement, answer_run, deciding, is_bounded, judge_run, keep_judgement
from noria.costs.sheet import load_sheet
from noria.errors import BudgetError, InputError, NoriaError
from noria.jobs.runner import keep_failure
from noria.pipeline import Pipeline
from noria.records import BEFORE_STAGES, Run
from noria.settings import Settings
from noria.workspace import Workspace

FLAG = "--exceed-budget"


def check_sheet(pipeline: Pipeline, settings: Settings) -> None:
    """See that a pipeline with a budget of its own can be judged, before anything of a run is there.

    Raises:
        SpecError: The price sheet is wrong.
    """
    if pipeline.budget.is_bounded:
        load_sheet(settings.costs_file)


def admit(run: Run, workspace: Workspace, console: Console, reason: str | None) -> None:
    """Judge a run before its first job, where there is any bound. Why it does not begin is kept.

    Args:
        run: The run.
        workspace: The world.
        console: Where it is told.
        reason: Why it may break its budget, where somebody has said so beforehand.

    Raises:
        BudgetError: It may not begin.
        InputError: Whoever says that it may is not among those who may say so, or gives no reason.
        SpecError: The price sheet, or the folder's pipeline.yaml, is wrong.
        StorageError: What was spent cannot be read.
    """
    try:
        judgement = _judged(run, workspace, console, reason)
    except NoriaError as error:
        keep_failure(BEFORE_STAGES, error, run, workspace)
        raise
    for sentence in judgement.sentences if judgement else ():
        style = "yellow" if judgement and (judgement.broken or judgement.unjudged) else "dim"
        console.print(sentence, style=style, highlight=False, markup=False, soft_wrap=True)


def _judged(run: Run, workspace: Workspace, console: Console, reason: str | None) -> Judgement | None:
    """The judgement of a run that may begin, or none where nothing is bound."""
    if not is_bounded(workspace.budget(run), workspace.settings):
        return None
    judgement = judge_run(run, workspace)
    if judgement.action == "approve":
        judgement = _asked(judgement, run, workspace, console, reason)
    if not judgement.may_begin:
        raise _refusal(judgement)
    return judgement


def _asked(judgement: Judgement, run: Run, workspace: Workspace, console: Console, reason: str | None) -> Judgement:
    """The judgement with an answer: the one that was given beforehand, or that of the terminal; none without one.

    One that was given beforehand is to whatever is found; that of the terminal, which may take long, to what it shows.
    """
    is_shown = reason is None and sys.stdin.isatty()
    if is_shown:
        for sentence in judgement.sentences:
            console.print(sentence, style="yellow", highlight=False, markup=False, soft_wrap=True)
        reason = _typed(console)
        if not reason.strip():
            declined = Answer(approved=False, by=user(), reason="no reason given", at=workspace.clock())
            return answer_run(judgement, declined, run, workspace)
    if reason is None:
        return judgement
    approvers = deciding(judgement, run, workspace).approvers
    if approvers and user() not in approvers:
        raise InputError(
            f"{user()} may not let a run of {run.pipeline.name} break its budget",
            expected=f"one of {', '.join(approvers)} (approvers of the budget)",
        )
    answer = Answer(approved=True, by=user(), reason=stated(reason), at=workspace.clock())
    if is_shown:
        return answer_run(judgement, answer, run, workspace)
    answered = judgement.model_copy(update={"answer": answer})
    keep_judgement(answered, run, workspace)
    return answered


def _typed(console: Console) -> str:
    """What is typed; whoever closes the input (Ctrl-D) has typed nothing."""
    try:
        return console.input("To let it run all the same, say why; an empty line ends it: ")
    except EOFError:
        console.print()
        return ""


def _refusal(judgement: Judgement) -> BudgetError:
    error = judgement.refusal()
    if judgement.action != "approve" or judgement.answer is not None:
        return error
    return BudgetError(error.got, remedy=f"{error.remedy} To let it run all the same: {FLAG} REASON.")
