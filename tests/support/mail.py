"""A mail server that misbehaves as it is told, and how tests send to it."""

from __future__ import annotations

import asyncio
import email
import email.policy
import smtplib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from types import TracebackType

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from noria.alerts.sending import Refused


class _AnyPort(Controller):
    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@dataclass
class MailServer:
    """An SMTP server on loopback for the length of a context.

    Attributes:
        refuses: Answers to recipients that it does not take, such as `550 no such user`.
        hangs_up: Whether it ends the connection instead of taking what a mail says.
        says: Its answer to a mail; it keeps one if that begins with 250.
        password: Who logs in must know it.
        slow_seconds: How long it takes for each recipient.
        closes: Whether it ends the connection after each mail.
    """

    refuses: dict[str, str] = field(default_factory=dict)
    hangs_up: bool = False
    says: str = "250 kept"
    password: str | None = None
    slow_seconds: float = 0.0
    closes: bool = False
    kept: list[tuple[list[str], EmailMessage]] = field(default_factory=list)

    def __enter__(self) -> MailServer:
        self._guard = threading.Lock()
        self._controller = _AnyPort(
            self, "127.0.0.1", 0, authenticator=self._authenticate, auth_require_tls=False, ready_timeout=20
        )
        self._controller.start()
        self.port = self._controller.port
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()

    def behave(self) -> None:
        """Be a good server with an empty box."""
        self.refuses, self.hangs_up, self.says, self.password, self.kept = {}, False, "250 kept", None, []

    @property
    def mails(self) -> list[EmailMessage]:
        return [message for _, message in self.kept]

    def send(self, message: EmailMessage, recipients: Sequence[str]) -> Refused:
        """Hand one mail to this server."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as server:
            if self.password:
                server.login("noria", "wrong")
            return sent_by(server, message, recipients)

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, data: object
    ) -> AuthResult:
        good = isinstance(data, LoginPassword) and data.password.decode() == self.password
        return AuthResult(success=good, handled=False)

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        await asyncio.sleep(self.slow_seconds)
        if answer := self.refuses.get(address):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.hangs_up:
            assert server.transport is not None
            server.transport.abort()
        elif self.says.startswith("250"):
            assert isinstance(envelope.content, bytes)
            message = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(message, EmailMessage)
            with self._guard:
                self.kept.append((list(envelope.rcpt_tos), message))
            if self.closes:
                assert server.transport is not None
                asyncio.get_running_loop().call_soon(server.transport.close)
        return self.says


def sent_by(server: smtplib.SMTP, message: EmailMessage, recipients: Sequence[str]) -> Refused:
    """Hand a mail to a server that is connected."""
    message["From"] = "noria@example.org"
    refused: Refused = server.send_message(message, to_addrs=list(recipients))
    return refused
