"""Asking people: a candidate that passed the gate waits in the Airflow UI until somebody agrees or the time is up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

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
LONGEST_REASON = 1000


class ApproveOperator(ApprovalOperator):
    """Ask people whether a candidate becomes the champion; the stage `release` carries their answer out.

    Nothing is asked, and the task is skipped, where the verdict is not to promote. An answer is kept, signed, beside
    the run's records. No answer in time is a no. A yes needs a reason: without one the question is put again.

    Args:
        pipeline: Its policy must ask for approval.
    """

    ui_color = "#fff3cd"
    operator_extra_links = (ReportLink(), DataDocsLink())

    def __init__(self, *, pipeline: Pipeline, **kwargs: Any) -> None:
        policy = pipeline.gate.approval
        if policy is None:
            raise InputError(f"pipeline {pipeline.name} has no gate.approval", expected="one, where people are asked")
        kwargs["params"] = {"reason": _reason()}  # without those of the DAG's form, which Airflow has put there
        super().__init__(
            task_id=APPROVE_TASK,
            subject=f"May a new model of {pipeline.name} become the champion?",
            body="The comparison stands here once the gate has said promote.",
            defaults=self.REJECT,
            response_timeout=timedelta(hours=policy.timeout_hours),
            assigned_users=[{"id": name, "name": name} for name in policy.approvers],
            notifiers=[WaitingNotifier(pipeline)],
            **kwargs,
        )
        self.pipeline = pipeline.name
        self.timeout_hours = policy.timeout_hours
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
            self.response_timeout = self._time_left(run, workspace)
            if self._is_answered(run, workspace):
                return _reference(run)
            if self.response_timeout <= timedelta(0):
                return self._keep(run, workspace, approved=False, by=NOBODY, reason=self._too_late)
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
        approved, by, reason = self._answer(context, event)
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

    def _answer(self, context: Context, event: dict[str, Any]) -> tuple[bool, str, str]:
        """Whether it was approved, by whom, and why."""
        if event.get("timedout"):
            return False, NOBODY, self._too_late
        given = {key: value for key, value in (event.get("params_input") or {}).items() if value}
        # The base class's own way skips what follows a no; here that has the answer to carry out.
        HITLOperator.execute_complete(self, context, {**event, "params_input": given})
        approved = event["chosen_options"] == [self.APPROVE]
        reason = " ".join(str(given.get("reason", "")).split())
        if approved and not reason:
            raise AirflowException("it was approved without a reason, so the question is put again")
        user = event["responded_by_user"]  # approvers are named by the id that Airflow knows them by
        return approved, str(user["id"] if self.assigned_users else user["name"]), reason or "no reason given"

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
            self.timeout_hours = policy.timeout_hours
            self.assigned_users = [{"id": name, "name": name} for name in policy.approvers]

    def _time_left(self, run: Run, workspace: Workspace) -> timedelta:
        """The time begins with the verdict, so that a question that is put again ends no later."""
        since = workspace.asked_at(run) or workspace.clock()
        return since + timedelta(hours=self.timeout_hours) - workspace.clock()

    @property
    def _too_late(self) -> str:
        return f"no answer within {self.timeout_hours:g} hours"

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


def _reason() -> Param:
    """The form's field; empty is valid, since Airflow checks a task's params before anyone is asked."""
    return Param(
        None,
        type=["null", "string"],
        minLength=1,
        maxLength=LONGEST_REASON,
        title="Reason",
        description="Why. To approve, there has to be one; it is kept with your name in the promotion's record.",
    )


def _reference(run: Run) -> str:
    return run_path(run.pipeline.name, run.run_id, APPROVAL)
