"""Asking people: a candidate that passed the gate waits in the Airflow UI until somebody agrees or the time is up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from noria.airflow.asking import AskingOperator
from noria.airflow.connections import open_workspace, stage_credentials
from noria.airflow.defaults import APPROVE_TASK
from noria.airflow.links import DataDocsLink, ReportLink, data_docs_url, report_url, run_url
from noria.airflow.notifiers import WaitingNotifier
from noria.airflow.question import question
from noria.airflow.telling import errors_told, relay
from noria.compute.process import JobProcess
from noria.errors import InputError, NoriaError
from noria.jobs.runner import keep_failure
from noria.pipeline import Pipeline, approval_of
from noria.records import NOBODY, Candidate, Decision, Run
from noria.settings import Settings
from noria.workspace import APPROVAL, Workspace, run_path, safe_run_id

if TYPE_CHECKING:
    from airflow.sdk import Context

STAGE = "release"
"""Whose log and failure an error here belongs to: the stage that carries the answer out."""


class ApproveOperator(AskingOperator):
    """Ask people whether a candidate becomes the champion; the stage `release` carries their answer out.

    Nothing is asked, and the task is skipped, where the verdict is not to promote. An answer is kept, signed, beside
    the run's records. No answer in time is a no. A yes needs a reason: without one the question is put again.

    Args:
        pipeline: Its policy must ask for approval.
    """

    operator_extra_links = (ReportLink(), DataDocsLink())

    def __init__(self, *, pipeline: Pipeline, **kwargs: Any) -> None:
        policy = pipeline.gate.approval
        if policy is None:
            raise InputError(f"pipeline {pipeline.name} has no gate.approval", expected="one, where people are asked")
        super().__init__(
            task_id=APPROVE_TASK,
            pipeline=pipeline.name,
            approvers=policy.approvers,
            timeout_hours=policy.timeout_hours,
            notifier=WaitingNotifier(pipeline),
            subject=f"May a new model of {pipeline.name} become the champion?",
            body="The comparison stands here once the gate has said promote.",
            **kwargs,
        )
        self._policy = policy
        self._job: JobProcess | None = None

    def execute(self, context: Context) -> Any:
        """Put the question, unless there is none or it was answered elsewhere, and wait.

        Raises:
            AirflowSkipException: The candidate does not wait for anybody.
            NoriaError: It may pass; Airflow retries.
            AirflowFailException: It will not; Airflow does not.
        """
        with self._step(context) as (run, workspace):
            decision = workspace.asked(run) or workspace.require(run, "promote", Decision)
            if not decision.waiting:
                raise AirflowSkipException(f"nobody has to be asked: the verdict is {decision.verdict}")
            self._narrow(run, workspace)
            now = workspace.clock()
            self.response_timeout = self.time_left(workspace.asked_at(run) or now, now)
            if self._is_answered(run, workspace):
                return _reference(run)
            if self.response_timeout <= timedelta(0):
                return self._keep(run, workspace, approved=False, by=NOBODY, reason=self.too_late)
            self._write_report(run, workspace)
            place = context["dag"].dag_id, context["run_id"]
            links = [("Report", report_url(*place)), ("Data Docs", data_docs_url(*place)), ("Run", run_url(*place))]
            self.subject, self.body = question(run, decision, workspace.find(run, "train", Candidate), links)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> str:
        """Keep the answer; `release` runs either way, and leaves the champion as it is where it was no.

        Raises:
            AirflowException: It was a yes without a reason; Airflow puts the question again.
            NoriaError: It may pass; Airflow retries.
            AirflowFailException: It will not; Airflow does not.
        """
        with self._step(context) as (run, workspace):
            self._narrow(run, workspace)
        approved, by, reason = self.answer(context, event)
        with self._step(context) as (run, workspace):
            if self._is_answered(run, workspace):
                return _reference(run)
            return self._keep(run, workspace, approved=approved, by=by, reason=reason)

    def on_kill(self) -> None:
        """End the report's job when the task is stopped."""
        if self._job is not None:
            self._job.kill()

    def _write_report(self, run: Run, workspace: Workspace) -> None:
        """The report as far as the run got, for those who have to decide; it is written anew when they have."""
        settings = workspace.settings
        self._job = JobProcess(
            "report",
            run,
            settings,
            credentials=stage_credentials("report", run, settings),
            log_file=settings.log_file(self.pipeline, run.run_id, "report"),
            on_line=relay(self.log),
        )
        try:
            self._job.run()
        except NoriaError as error:  # the question itself says what there is to say
            self.log.warning("there is no report yet: %s", error)

    def _keep(self, run: Run, workspace: Workspace, *, approved: bool, by: str, reason: str) -> str:
        from noria.stages.by_hand import approve

        approve(run, workspace, approved=approved, by=by, reason=reason)
        self.log.info("%s by %s: %s", "approved" if approved else "declined", by, reason)
        return _reference(run)

    def _is_answered(self, run: Run, workspace: Workspace) -> bool:
        """Whether somebody has answered already, here or by the command line; the first answer stands."""
        answer = workspace.approval(run)
        if answer:
            word = "approved" if answer.approved else "declined"
            self.log.info("it was %s already, by %s: %s", word, answer.by, answer.reason)
        return answer is not None

    def _narrow(self, run: Run, workspace: Workspace) -> None:
        """A run may name fewer people and a shorter time than the folder, which this task was made from."""
        policy = approval_of(self._policy, workspace.approval_policy(run))
        if policy is not None:
            self.allow(policy.approvers, policy.timeout_hours)

    @contextlib.contextmanager
    def _step(self, context: Context) -> Iterator[tuple[Run, Workspace]]:
        settings, run_id = Settings.from_env(), safe_run_id(context["run_id"])
        with errors_told(APPROVE_TASK, settings.log_file(self.pipeline, run_id, STAGE), self.log):
            workspace = open_workspace(settings)
            run = workspace.load_run(self.pipeline, run_id)
            try:
                yield run, workspace
            except NoriaError as error:
                keep_failure(STAGE, error, run, workspace)
                raise


def _reference(run: Run) -> str:
    return run_path(run.pipeline.name, run.run_id, APPROVAL)
