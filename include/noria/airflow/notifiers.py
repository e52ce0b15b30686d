"""Notifiers: mails about runs, sent at DAG level, because a task that is killed calls nobody.

They run in the DAG processor, but for the one about a candidate that waits, which runs in the task that asks. What they
tell goes into the outbox, and from there at once to the server, if it can be reached. Nothing here changes a run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from noria.airflow.connections import open_workspace
from noria.airflow.defaults import APPROVE_TASK, BUDGET_TASK, MAIL_LOG
from noria.airflow.links import approval_url, data_docs_url, report_url, run_url, task_url
from noria.airflow.mail import tell
from noria.airflow.pages import find_pages
from noria.alerts import Alert, Kind
from noria.alerts.failures import failure_alert
from noria.alerts.late import asks_people
from noria.alerts.outbox import over
from noria.alerts.verdicts import failed_rollback_alert, forced_alerts, rollback_alert, verdict_alert, waiting_alert
from noria.costs.budgets import find_judgement
from noria.errors import NoriaError
from noria.pipeline import Pipeline
from noria.records import STAGES, Rollback, Run
from noria.settings import Settings
from noria.workspace import Workspace, safe_run_id

if TYPE_CHECKING:
    from airflow.sdk import Context

Links = list[tuple[str, str]]
Alerts = Sequence[Alert]


class _RunNotifier(BaseNotifier):
    ends_run = False
    """Whether it has the last word on a run; that it was said is noted where the run's logs are."""

    def __init__(self, pipeline: Pipeline, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline.name
        self.policy = pipeline.alerts

    def notify(self, context: Context) -> None:
        """Tell what is to be told, if somebody wants it."""
        if not self.policy.emails:
            return
        settings, run_id = Settings.from_env(), safe_run_id(context["run_id"])
        said = "the end of the run could not be told"
        try:
            self._tell(context, run_id, open_workspace(settings))
            said = "the end of the run was told, if it is news"
        finally:  # in trouble too: nobody need wait for a mail that will not come
            if self.ends_run:
                _note(said, settings.log_file(self.pipeline, run_id, MAIL_LOG))

    def _tell(self, context: Context, run_id: str, workspace: Workspace) -> None:
        run = self._run(run_id, workspace)
        links = _links(context["dag"].dag_id, context["run_id"], run, workspace)
        alerts = self.compose(run_id, run, workspace, links)
        self.settle(run, workspace)
        tell(alerts, self.policy, workspace)

    def compose(self, run_id: str, run: Run | None, workspace: Workspace, links: Links) -> Alerts:
        """The alerts of a run, or none."""
        raise NotImplementedError

    def settle(self, run: Run | None, workspace: Workspace) -> None:
        """Say what is over with this run, if anything is."""

    def _run(self, run_id: str, workspace: Workspace) -> Run | None:
        try:
            return workspace.load_run(self.pipeline, run_id)
        except NoriaError:
            return None


class FailureNotifier(_RunNotifier):
    """Mail about a failed run, or data that failed validation."""

    ends_run = True

    def notify(self, context: Context) -> None:
        """Send the alert, with the way to the log of the task that failed."""
        self._log_at = partial(task_url, context["dag"].dag_id, context["run_id"])
        self._has_budget = context["dag"].has_task(BUDGET_TASK)
        super().notify(context)

    def compose(self, run_id: str, run: Run | None, workspace: Workspace, links: Links) -> Alerts:
        """The alert of a run that ended badly."""
        alert = failure_alert(self.pipeline, run_id, run, workspace, links)
        task = self._failed_task(alert.log_stage, run, workspace)
        return [replace(alert, links=[*alert.links, (f"Log of {task}", self._log_at(task))])]

    def _failed_task(self, stage: str, run: Run | None, workspace: Workspace) -> str:
        """That of the stage, or the one before it, which judges or asks, where it did not get further."""
        try:
            asks = asks_people(run, workspace) if run else ""
            is_judged = run is not None and not asks and find_judgement(run, workspace) is not None
        except (NoriaError, ValueError):  # a record that cannot be read must not keep the mail back
            return stage
        if stage == STAGES[0] and self._has_budget and not is_judged:
            return BUDGET_TASK
        return APPROVE_TASK if asks == "release" else stage


class VerdictNotifier(_RunNotifier):
    """Mail about what became of a candidate; a champion that just stays is no news."""

    ends_run = True

    def compose(self, run_id: str, run: Run | None, workspace: Workspace, links: Links) -> Alerts:
        """The alerts of a run that ended well, if there is news."""
        if run is None:
            return []
        return [*forced_alerts(run, workspace, links), *_one(verdict_alert(run, workspace, links))]

    def settle(self, run: Run | None, workspace: Workspace) -> None:
        """A run that ended well ends what was told of failed ones; without that it ends after a day.

        So does one within its budget for those that were stopped.
        """
        kinds: list[Kind] = ["failed run", "failed validation", "late run"]
        with contextlib.suppress(NoriaError):
            judgement = find_judgement(run, workspace) if run else None
            over(self.pipeline, kinds if judgement and judgement.broken else [*kinds, "budget"], workspace)


class WaitingNotifier(_RunNotifier):
    """Mail about a candidate that waits for a person, from the task that asks."""

    task_id = APPROVE_TASK

    def notify(self, context: Context) -> None:
        """Send the alert; the question stands in the UI, whether or not a mail can be sent."""
        self._answer_at = approval_url(context["dag"].dag_id, context["run_id"], self.task_id)
        try:
            super().notify(context)
        except Exception as error:
            self.log.warning("the mail about what waits was not sent: %s", error)

    def compose(self, run_id: str, run: Run | None, workspace: Workspace, links: Links) -> Alerts:
        """The alert with the address where to answer."""
        links = [("Approve or decline", self._answer_at), *links]
        return _one(waiting_alert(run, workspace, links)) if run else []


class RollbackNotifier(_RunNotifier):
    """Mail about a rollback."""

    def compose(self, run_id: str, run: Run | None, workspace: Workspace, links: Links) -> Alerts:
        """The alert of a rollback that went well."""
        from noria.stages.rollback import rollback_path

        record = workspace.lake.read(rollback_path(self.pipeline, run_id))
        return [rollback_alert(Rollback.model_validate_json(record), links)]


class FailedRollbackNotifier(_RunNotifier):
    """Mail about a rollback that did not happen."""

    def compose(self, run_id: str, run: Run | None, workspace: Workspace, links: Links) -> Alerts:
        """The alert of a rollback that failed."""
        return [failed_rollback_alert(self.pipeline, run_id, workspace, links)]


def _note(said: str, file: Path) -> None:
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{said}\n")


def _one(alert: Alert | None) -> Alerts:
    return [alert] if alert else []


def _links(dag_id: str, run_id: str, run: Run | None, workspace: Workspace) -> Links:
    """The run, and those of its pages that exist."""
    links = [("Run", run_url(dag_id, run_id))]
    pages = find_pages(run, workspace) if run else {}
    if "report" in pages:
        links.append(("Report", report_url(dag_id, run_id)))
    if "data-docs" in pages:
        links.append(("Data Docs", data_docs_url(dag_id, run_id)))
    return links
