"""How an alert looks: plain text with an HTML alternative."""

from __future__ import annotations

import email.policy
import email.utils
import re
from collections.abc import Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from noria.alerts.alert import Alert

if TYPE_CHECKING:
    import jinja2

DOMAIN = "noria.local"
ADDRESS = re.compile(r"[^@\s,;<>\x00-\x1f\x7f]+@[^@\s,;<>\x00-\x1f\x7f]+")
MOST_REFERENCES = 10


def to_message(
    alert: Alert, recipients: Sequence[str], *, letter_id: str = "", answers: Sequence[str] = ()
) -> EmailMessage:
    """The mail: plain text with an HTML alternative. Whoever sends it says from whom it is.

    Args:
        alert: What it says.
        recipients: Addresses.
        letter_id: Makes the Message-ID, so that a mail that is sent twice is known to be the same.
        answers: Letters that it follows up.

    Raises:
        ValueError: A recipient is no address.
    """
    message = EmailMessage(policy=email.policy.SMTP.clone(max_line_length=250))  # a subject is not folded
    message["Subject"] = alert.subject
    message["To"] = [_address(recipient) for recipient in recipients]
    message["Date"] = email.utils.localtime()
    message["Message-ID"] = _message_id(letter_id) if letter_id else email.utils.make_msgid(domain=DOMAIN)
    if answers:
        message["In-Reply-To"] = _message_id(answers[-1])
        message["References"] = " ".join(_message_id(answer) for answer in answers[-MOST_REFERENCES:])
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"  # Exchange's word for the same
    message["X-Noria-Severity"] = alert.level
    if alert.level == "critical":
        message["Importance"] = "high"
    message.set_content(_templates().get_template("alert.txt.j2").render(alert=alert))
    message.add_alternative(_templates().get_template("alert.html.j2").render(alert=alert), subtype="html")
    return message


def _address(recipient: str) -> Address:
    if not ADDRESS.fullmatch(recipient):
        raise ValueError(f"{recipient!r} is no address of a mail")
    return Address(addr_spec=recipient)


def _message_id(letter_id: str) -> str:
    return f"<{letter_id}@{DOMAIN}>"


@cache
def _templates() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
