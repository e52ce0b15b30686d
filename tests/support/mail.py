"""Sending mails to a real server, as tests need it."""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from email.message import EmailMessage

from noria.alerts.sending import Refused


def sent_by(server: smtplib.SMTP, message: EmailMessage, recipients: Sequence[str]) -> Refused:
    """Hand a mail to a server that is connected."""
    message["From"] = "noria@example.org"
    refused: Refused = server.send_message(message, to_addrs=list(recipients))
    return refused
