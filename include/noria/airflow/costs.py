"""What the DAG `export_costs` is made of: its arguments, its form and its steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier, BaseOperator, Param

from noria.airflow.connections import azure_connections, open_workspace
from noria.airflow.defaults import COSTS_DAG, COSTS_TAGS, retries
from noria.airflow.links import CostReportLink, costs_url, run_url
from noria.airflow.mail import SmtpServer, tell
from noria.airflow.telling import errors_told, relay
from noria.alerts import Alert
from noria.alerts.failures import because, last_lines
from noria.alerts.outbox import deliver, over
from noria.compute.process import ChildJob
from noria.errors import NoriaError
from noria.jobs.costs import STEPS, StepRecord, hear_of_trouble
from noria.pipeline import Alerts
from noria.settings import Settings
from noria.workspace import Workspace, safe_run_id

if TYPE_CHECKING:
    from airflow.sdk import Context

OWNER = "noria"
LOOK_AGAIN = timedelta(minutes=2)
"""Between two looks whether Azure has delivered."""


def costs_arguments() -> dict[str, Any]:
    """Arguments of `DAG(...)`, but for its documentation."""
    return {
        "dag_id": COSTS_DAG,
        "description": "What every run, model and pipeline costs: metered, invoiced, compared with budgets",
        "schedule": "30 3 * * *",
        "catchup": False,  # one run does all missed days
        "max_active_runs": 1,
        "tags": list(COSTS_TAGS),
        "params": costs_params(),
        "default_args": {"owner": OWNER, **retries()},
        "on_failure_callback": FailedCostsNotifier(),
        "on_success_callback": settle_failures,
    }


def costs_params() -> dict[str, Param]:
    """The form of a run that somebody triggers."""
    return {
        "since": Param(
            None,
            type=["null", "string"],
            format="date",
            title="First day",
            description="First day (UTC) to do. Empty: the first day that was ever metered.",
        ),
        "until": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Last day",
            description="Last day (UTC) to do; it must be over. Empty: yesterday.",
        ),
        "wait": Param(
            60,
            type="integer",
            minimum=0,
            maximum=12 * 60,
            title="Minutes to wait",
            description="How long to wait for what Azure was asked to deliver; what comes later is taken the next "
            "night.",
        ),
    }


class FailedCostsNotifier(BaseNotifier):
    """Mail about a night whose costs are not complete."""

    def notify(self, context: Context) -> None:
        """Send the alert."""
        settings = Settings.from_env()
        links = [("Run", run_url(context["dag"].dag_id, context["run_id"]))]
        alert = failed_costs_alert(safe_run_id(context["run_id"]), settings, links)
        tell([alert], Alerts(emails=hear_of_trouble(settings)), open_workspace(settings))


def settle_failures(context: Context) -> None:
    """A night that went well ends what was told of failed ones."""
    over(OWNER, ("failed run",), open_workspace(Settings.from_env()))


def failed_costs_alert(run_id: str, settings: Settings, links: list[tuple[str, str]]) -> Alert:
    """What a night's mail says whose costs are not complete: the step that told of an error first."""
    logs = {step: last_lines(settings.log_file(OWNER, run_id, f"costs-{step}")) for step in STEPS}
    step = next((step for step, log in logs.items() if log and log[-1].startswith("ERROR ")), "")
    log = logs.get(step, ())
    return Alert(
        OWNER,
        f"the cost export failed{f' in {step}' if step else ''}{because(log)}",
        kind="failed run",
        details=["The next night does what is missing. The table holds each day whole, as it was or as it is now."],
        links=links,
        log_stage=step,
        log=log,
    )


class CostsOperator(BaseOperator):
    """Do one step of the cost export as a child process; the task's result is the lake path of what it did.

    The step `export` sleeps, at most as long as the form says, until Azure has delivered what it was asked for.

    Args:
        step: Name of the step.
    """

    ui_color = "#e9f2e1"
    operator_extra_links = (CostReportLink(),)

    def __init__(self, *, step: str, **kwargs: Any) -> None:
        super().__init__(task_id=step, **kwargs)
        self.step = step
        self._job: ChildJob | None = None

    def execute(self, context: Context) -> str:
        """Do the step.

        Raises:
            NoriaError: It may pass; Airflow retries.
            AirflowFailException: It will not; Airflow does not.
        """
        until = datetime.now(UTC) + timedelta(minutes=context["params"]["wait"])
        return self.resume(context, until=until.timestamp())

    def resume(self, context: Context, event: Any = None, *, until: float) -> str:
        """Do the step, and sleep where it waits for something; raises as `execute` does."""
        reference, waits = self._perform(context)
        if waits and datetime.now(UTC).timestamp() < until:
            from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

            self.defer(trigger=TimeDeltaTrigger(LOOK_AGAIN), method_name="resume", kwargs={"until": until})
        return reference

    def on_kill(self) -> None:
        """End the job when the task is stopped."""
        if self._job is not None:
            self._job.kill()

    def _perform(self, context: Context) -> tuple[str, bool]:
        """The lake path of what the step did, and whether Azure has yet to deliver."""
        settings = Settings.from_env()
        log_file = settings.log_file(OWNER, safe_run_id(context["run_id"]), f"costs-{self.step}")
        with errors_told(self.step, log_file, self.log):
            self._job = ChildJob(
                "costs",
                self._arguments(context),
                settings,
                credentials=azure_connections(settings),
                log_file=log_file,
                on_line=relay(self.log),
            )
            reference = self._job.run()
            workspace = open_workspace(settings)
            done = StepRecord.model_validate_json(workspace.lake.read(reference))
        self._send_mails(workspace)
        return reference, self.step == "export" and bool(done.waiting)

    def _send_mails(self, workspace: Workspace) -> None:
        """Send what the step has put into the outbox; what cannot be sent now is sent later, and changes nothing."""
        try:
            with SmtpServer() as server:
                deliver(workspace, server.send)
        except NoriaError as error:
            self.log.warning("mails wait in the outbox: %s", error)

    def _arguments(self, context: Context) -> list[str]:
        params = context["params"]
        days = [f"--{name}={params[name]}" for name in ("since", "until") if params[name]]
        return [self.step, *days, f"--page-url={costs_url()}"]
