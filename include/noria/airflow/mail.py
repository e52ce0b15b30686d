"""How mails leave: through Airflow's SMTP connection, from the outbox."""

from __future__ import annotations

import logging
import math
import smtplib
import time
from collections.abc import Callable, Sequence
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
    """The server of the connection `smtp_default` for the length of a context; it is called at the first mail.

    Args:
        patience_seconds: How long the server may keep silent, at most; the connection's `timeout` may say less.
    """

    def __init__(self, patience_seconds: float = 30.0) -> None:
        self._patience_seconds, self._end = patience_seconds, math.inf
        self._hook: SmtpHook | None = None

    def hurry(self, seconds: float) -> None:
        """End by then, be it in the middle of a mail: what a server that is slow at each command takes is bounded."""
        self._end = time.monotonic() + seconds

    def __enter__(self) -> SmtpServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def send(self, message: EmailMessage, recipients: Sequence[str]) -> Refused:
        """Send one mail; the recipients whom the server refused, with its answers.

        Raises:
            InputError: There is no such connection.
            OSError: The server cannot be reached, or does not take the mail (`smtplib.SMTPException`).
        """
        if self._hook is not None and not _is_there(self._hook._smtp_client):
            self._close()  # some servers take so many mails by one connection
        if self._hook is None:
            self._hook = _connect(self._wait_seconds)
        sender = self._hook.from_email or SENDER
        message["From"] = sender
        # The hook's own method makes no plain text part.
        refused: Refused = self._hook._smtp_client.send_message(message, sender, list(recipients))
        return refused

    def _wait_seconds(self) -> float:
        return min(self._patience_seconds, max(self._end - time.monotonic(), 0.01))

    def _close(self) -> None:
        if self._hook is not None:
            self._hook.__exit__(None, None, None)
            self._hook = None


def _is_there(client: smtplib.SMTP) -> bool:
    try:
        return client.noop()[0] == 250
    except OSError:
        return False


def _connect(wait_seconds: Callable[[], float]) -> SmtpHook:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    class OneTry(SmtpHook):
        """The outbox tries again; the hook by itself would hold its caller up six times as long."""

        smtp_retry_limit = 0

        @property
        def timeout(self) -> float:
            return min(float(super().timeout), wait_seconds())

        def _build_client(self) -> smtplib.SMTP:
            client: smtplib.SMTP = super()._build_client()
            say = client.putcmd

            def say_in_time(cmd: str, args: str = "") -> None:
                if client.sock is not None:
                    client.sock.settimeout(self.timeout)
                say(cmd, args)

            client.putcmd = say_in_time  # type: ignore[method-assign]
            return client

    try:
        BaseHook.get_connection(SMTP_CONNECTION)
    except AirflowNotFoundException:
        raise InputError(
            f"no connection {SMTP_CONNECTION}",
            expected="an Airflow connection of that id",
            remedy="Mails wait for it; see docs/operations.md.",
        ) from None
    return OneTry(smtp_conn_id=SMTP_CONNECTION).get_conn()


class Allowance:
    """So many seconds of a while that something may take, all calls of a process together.

    Args:
        seconds: How many.
        window_seconds: How long the while is.
    """

    def __init__(self, seconds: float, window_seconds: float) -> None:
        self._seconds, self._window_seconds = seconds, window_seconds
        self._begun, self._left = -window_seconds, seconds

    @property
    def left_seconds(self) -> float:
        """What is left of it."""
        if time.monotonic() - self._begun >= self._window_seconds:
            self._begun, self._left = time.monotonic(), self._seconds
        return self._left

    def take(self, seconds: float) -> None:
        """Count what something took."""
        self._left -= seconds


SENDING = Allowance(seconds=15.0, window_seconds=60.0)
"""The DAG processor is killed 50 s after it began a batch of callbacks, and with it those that have not had their turn:
what is left is sent by the DAG `send_alerts`."""
PATIENCE_SECONDS = 8.0
"""How long a callback waits for a server that keeps silent."""


def tell(alerts: Sequence[Alert], policy: Alerts, workspace: Workspace) -> Delivered:
    """Put alerts into the outbox, and send what is due as long as a callback may take.

    What the outbox cannot take is sent without it.

    Raises:
        StorageError: The outbox cannot be used.
    """
    with SmtpServer(PATIENCE_SECONDS) as server:
        for alert in alerts:
            try:
                post(alert, policy.emails, policy, workspace)
            except NoriaError as error:
                log.warning("the outbox cannot be used, so a mail is sent without: %s", error)
                _send_alone(alert, policy.emails, server)
        begun, left = time.monotonic(), SENDING.left_seconds
        if left <= 0:
            return Delivered()
        try:
            server.hurry(min(left, 10.0) + PATIENCE_SECONDS)
            return deliver(workspace, server.send, seconds=min(left, 10.0))
        finally:
            SENDING.take(time.monotonic() - begun)


def _send_alone(alert: Alert, recipients: Sequence[str], server: SmtpServer) -> None:
    """Send what nobody keeps; whatever comes of it, the next one has its turn."""
    try:
        if refused := server.send(to_message(alert, recipients), recipients):
            log.error("mail “%s” is lost to %s", alert.subject, dict(refused))
    except Exception as error:
        log.error("mail “%s” is lost: %s: %s", alert.subject, type(error).__name__, error)
