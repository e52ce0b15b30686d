"""The budget, before the first job: a run that would break it is told of, asked about, or ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from noria.airflow.asking import AskingOperator
from noria.airflow.beginning import begun_run
from noria.airflow.connections import stage_workspace
from noria.airflow.defaults import BUDGET_TASK
from noria.airflow.links import run_url
from noria.airflow.mail import tell
from noria.airflow.notifiers import Alerts, Links, WaitingNotifier
from noria.airflow.telling import errors_told
from noria.alerts.budgets import asking_alert, exceeding_alert
from noria.costs.budgets import Answer, Judgement, answer_run, deciding, find_judgement, is_bounded, judge_run
from noria.costs.recent import day_of, today
from noria.errors import NoriaError
from noria.jobs.runner import keep_failure
from noria.pipeline import Pipeline
from noria.records import BEFORE_STAGES, NOBODY, STAGES, Run
from noria.settings import Settings
from noria.workspace import Workspace, run_path, safe_run_id

if TYPE_CHECKING:
    from airflow.sdk import Context


def has_bounds(pipeline: Pipeline) -> bool:
    """Whether there is a bound on what a run of a pipeline may cost: its own, or one on everything together."""
    return is_bounded(pipeline.budget, Settings.from_env())


class BudgetNotifier(WaitingNotifier):
    """Mail about a run that waits for a person because it breaks its budget, from the task that asks."""

    task_id = BUDGET_TASK

    def compose(self, run_id: str, run: Run | None, workspace: Workspace, links: Links) -> Alerts:
        """The alert with the address where to answer."""
        judgement = find_judgement(run, workspace) if run else None
        if run is None or judgement is None:
            return []
        return [asking_alert(run, judgement, [("Approve or decline", self._answer_at), *links])]


class BudgetOperator(AskingOperator):
    """Create the run, and judge what it will cost before any job of it begins.

    Where it breaks a bound, `when_exceeded` of that budget says what happens: a mail, a question to people, or its end.
    The judgement and the answer are kept as the run's `budget.json`. A task that is cleared judges anew; a yes stands.
    A yes is to what was asked: it does not let a run begin that breaks more by then.

    Args:
        pipeline: Its budget, or that of everything together, has a bound.
    """

    def __init__(self, *, pipeline: Pipeline, **kwargs: Any) -> None:
        super().__init__(
            task_id=BUDGET_TASK,
            pipeline=pipeline.name,
            approvers=pipeline.budget.approvers,
            timeout_hours=pipeline.budget.timeout_hours,
            notifier=BudgetNotifier(pipeline),
            subject=f"May a run of {pipeline.name} break its budget?",
            body="The figures stand here once they are known.",
            **kwargs,
        )
        self.alerts = pipeline.alerts

    def execute(self, context: Context) -> Any:
        """Judge the run; ask, where people have to agree.

        Raises:
            NoriaError: It may pass; Airflow retries.
            AirflowFailException: It will not; Airflow does not. The budget has stopped the run, for one.
        """
        with self._step(context) as (run, workspace):
            judgement = self._judge(run, workspace)
            if judgement.action != "approve" or judgement.may_begin:
                return self._carry_out(judgement, run, workspace, context)
            self._narrow(judgement, run, workspace)
            now = workspace.clock()
            self.response_timeout = self.time_left(judgement.judged_at, now)
            if self.response_timeout <= timedelta(0):
                late = Answer(approved=False, by=NOBODY, reason=self.too_late, at=now)
                return self._answered(judgement, late, run, workspace, context)
            self.subject, self.body = _question(run, judgement, context)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> str:
        """Keep the answer; a no ends the run, and so does a yes to less than the run would exceed by now.

        Raises:
            AirflowException: It was a yes without a reason; Airflow puts the question again.
            NoriaError: It may pass; Airflow retries.
            AirflowFailException: It was a no, or a yes to less, or something will not pass.
        """
        with self._step(context) as (run, workspace):
            judgement = find_judgement(run, workspace) or judge_run(run, workspace)
            self._narrow(judgement, run, workspace)
        approved, by, reason = self.answer(context, event)
        with self._step(context) as (run, workspace):
            answer = Answer(approved=approved, by=by, reason=reason, at=workspace.clock())
            return self._answered(judgement, answer, run, workspace, context)

    def _judge(self, run: Run, workspace: Workspace) -> Judgement:
        """Anew, but for a yes that was given, and for a question of today that is put again."""
        before = find_judgement(run, workspace)
        if before is None:
            return judge_run(run, workspace)
        is_asked = before.action == "approve" and day_of(before.judged_at) == today(workspace)
        stands = before.may_begin if before.answer else is_asked
        return before if stands else judge_run(run, workspace)

    def _answered(self, judgement: Judgement, answer: Answer, run: Run, workspace: Workspace, context: Context) -> str:
        return self._carry_out(answer_run(judgement, answer, run, workspace), run, workspace, context)

    def _carry_out(self, judgement: Judgement, run: Run, workspace: Workspace, context: Context) -> str:
        for sentence in judgement.sentences:
            self.log.info("%s", sentence)
        if not judgement.may_begin:
            raise judgement.refusal()
        workspace.lake.remove(run_path(self.pipeline, run.run_id, f"{BEFORE_STAGES}.failed.json"))
        if judgement.action == "warn":
            self._warn(judgement, run, workspace, context)
        return run_path(self.pipeline, run.run_id, BEFORE_STAGES)

    def _warn(self, judgement: Judgement, run: Run, workspace: Workspace, context: Context) -> None:
        """A mail that cannot be sent changes nothing."""
        self.log.warning("the run breaks a budget and goes on")
        links = [("Run", run_url(context["dag"].dag_id, context["run_id"]))]
        try:
            tell([exceeding_alert(run, judgement, links)], self.alerts, workspace)
        except Exception as error:
            self.log.warning("the mail about the budget was not sent: %s", error)

    def _narrow(self, judgement: Judgement, run: Run, workspace: Workspace) -> None:
        """Whom the broken budget names and how long: not always that of the folder, which this task was made from."""
        budget = deciding(judgement, run, workspace)
        self.allow(budget.approvers, budget.timeout_hours)

    @contextlib.contextmanager
    def _step(self, context: Context) -> Iterator[tuple[Run, Workspace]]:
        """Errors are told in the first stage's log, where a mail about a run that could not begin looks for them."""
        settings, run_id = Settings.from_env(), safe_run_id(context["run_id"])
        with errors_told(BUDGET_TASK, settings.log_file(self.pipeline, run_id, STAGES[0]), self.log):
            workspace = stage_workspace(STAGES[0], settings)
            run = begun_run(self.pipeline, context, workspace)
            try:
                yield run, workspace
            except NoriaError as error:
                keep_failure(BEFORE_STAGES, error, run, workspace)
                raise


def _question(run: Run, judgement: Judgement, context: Context) -> tuple[str, str]:
    """Subject and body of the question, in Markdown."""
    from noria.airflow.question import escaped

    lines = "\n".join(f"- {escaped(sentence)}" for sentence in judgement.sentences)
    link = f"[Run]({run_url(context['dag'].dag_id, context['run_id'])})"
    return f"May this run of {run.pipeline.name} break its budget?", f"No job of it has run.\n\n{lines}\n\n{link}"
