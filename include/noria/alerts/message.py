"""How an alert looks: plain text with an HTML alternative."""

from __future__ import annotations

import email.policy
import email.utils
from collections.abc import Sequence
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from noria.alerts.alert import Alert

if TYPE_CHECKING:
    import jinja2


def to_message(alert: Alert, recipients: Sequence[str], sender: str) -> EmailMessage:
    """The mail: plain text with an HTML alternative."""
    message = EmailMessage(policy=email.policy.SMTP.clone(max_line_length=250))  # a subject is not folded
    message["Subject"] = alert.subject
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Date"] = email.utils.localtime()
    message["Message-ID"] = email.utils.make_msgid(domain="noria.local")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_templates().get_template("alert.txt.j2").render(alert=alert))
    message.add_alternative(_templates().get_template("alert.html.j2").render(alert=alert), subtype="html")
    return message


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
