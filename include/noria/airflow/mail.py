"""How mails leave: through Airflow's SMTP connection, from the outbox."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from email.message import EmailMessage
from types import TracebackType
from typing import TYPE_CHECKING

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from noria.alerts import Alert, to_message
from noria.alerts.outbox import deliver, post
from noria.alerts.sending import Delivered, Refused
from noria.errors import InputError, NoriaError
from noria.pipeline import Alerts
from noria.workspace import Workspace

if TYPE_CHECKING:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

log = logging.getLogger(__name__)
SMTP_CONNECTION = "smtp_default"
SENDER = "noria@localhost"
"""Where the connection names no `from_email`."""


class SmtpServer:
    """The server of the connection `smtp_default` for the length of a context; it is called at the first mail."""

    def __init__(self) -> None:
        self._hook: SmtpHook | None = None

    def __enter__(self) -> SmtpServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hook is not None:
            self._hook.__exit__(kind, value, trace)

    def send(self, message: EmailMessage, recipients: Sequence[str]) -> Refused:
        """Send one mail; the recipients whom the server refused, with its answers.

        Raises:
            InputError: There is no such connection.
            OSError: The server cannot be reached, or does not take the mail (`smtplib.SMTPException`).
        """
        if self._hook is None:
            self._hook = _connect()
        sender = self._hook.from_email or SENDER
        message["From"] = sender
        # The hook's own method makes no plain text part.
        refused: Refused = self._hook._smtp_client.send_message(message, sender, list(recipients))
        return refused


def _connect() -> SmtpHook:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    try:
        BaseHook.get_connection(SMTP_CONNECTION)
    except AirflowNotFoundException:
        raise InputError(
            f"no connection {SMTP_CONNECTION}",
            expected="an Airflow connection of that id",
            remedy="Mails wait for it; see docs/operations.md.",
        ) from None
    return SmtpHook(smtp_conn_id=SMTP_CONNECTION).get_conn()


def tell(alerts: Sequence[Alert], policy: Alerts, workspace: Workspace) -> Delivered:
    """Put alerts into the outbox and send what is due; what the outbox cannot take is sent without it."""
    with SmtpServer() as server:
        for alert in alerts:
            try:
                post(alert, policy.emails, policy, workspace)
            except NoriaError as error:
                log.warning("the outbox cannot be used, so a mail is sent without: %s", error)
                server.send(to_message(alert, policy.emails), policy.emails)
        return deliver(workspace, server.send)
