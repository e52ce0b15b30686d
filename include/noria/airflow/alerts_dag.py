"""What the DAG `send_alerts` is made of: its arguments and its one task."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from noria.airflow.connections import azure_connections
from noria.airflow.defaults import ALERTS_DAG, ALERTS_TAGS, retries
from noria.airflow.mail import SmtpServer
from noria.settings import Settings
from noria.workspace import Workspace

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)
EVERY = "*/15 * * * *"
SECONDS = 600.0
"""How long a run sends; in passes, so that a critical mail that comes meanwhile is among the next."""


def alerts_arguments() -> dict[str, Any]:
    """Arguments of `DAG(...)`."""
    return {
        "dag_id": ALERTS_DAG,
        "description": "Send the mails that wait",
        "schedule": EVERY,
        "catchup": False,
        "max_active_runs": 1,
        "tags": list(ALERTS_TAGS),
        "default_args": {"owner": "noria", **retries()},
        "on_failure_callback": say_that_mails_wait,
    }


def say_that_mails_wait(context: Context) -> None:
    """Note that the outbox could not be worked on; there is nobody to mail it to."""
    log.error("run %s could not use the outbox; its mails wait there, see `noria doctor`", context["run_id"])


class SendAlertsOperator(BaseOperator):
    """Send the mails of the outbox that are due; a server that cannot be used is no failure, as the mails wait."""

    ui_color = "#e7eef8"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(task_id="send", **kwargs)

    def execute(self, context: Context) -> None:
        """Send them.

        Raises:
            StorageError: The lake cannot be used; Airflow retries.
        """
        from noria.alerts.outbox import deliver
        from noria.alerts.sending import Delivered

        settings = Settings.from_env()
        with SmtpServer() as server:
            workspace, end = Workspace.open(settings, azure_connections(settings)), time.monotonic() + SECONDS
            done = Delivered()
            while (last := deliver(workspace, server.send)).sent and not last.trouble and time.monotonic() < end:
                done = done.and_then(last)
            done = done.and_then(last)
        self.log.info("%d sent, %d given up", done.sent, done.given_up)
