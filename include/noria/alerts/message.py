"""How an alert looks: plain text with an HTML alternative."""

from __future__ import annotations

import email.policy
import email.utils
import re
import textwrap
from collections.abc import Sequence
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from noria.alerts.alert import Alert
from noria.pipeline import RESERVED
from noria.pipeline.alerts import ADDRESS, AlertSeverity

if TYPE_CHECKING:
    import jinja2

DOMAIN = "noria.local"
_ADDRESS = re.compile(ADDRESS)
MOST_REFERENCES = 10
WIDTH = 78
"""Columns of the plain text, as RFC 5322, 2.1.1, asks for."""
_COLOURS: dict[AlertSeverity, str] = {
    "info": "#17406d",
    "warning": "#9a5b00",
    "error": "#b42318",
    "critical": "#7a0c1d",
}
_GOOD = "#1a7f4b"


class _Policy(email.policy.EmailPolicy):
    """Folds subjects by itself: Python's encoded words are too long for RFC 2047, 2, or lose what is between them."""

    @override
    def fold(self, name: str, value: str) -> str:
        return _folded(value) if _needs_folding(name, value) else str(super().fold(name, value))

    @override
    def fold_binary(self, name: str, value: str) -> bytes:
        return _folded(value).encode() if _needs_folding(name, value) else bytes(super().fold_binary(name, value))


def _needs_folding(name: str, value: str) -> bool:
    return name == "Subject" and not value.isascii()


def _folded(subject: str) -> str:
    words = Header(str(subject), "utf-8", maxlinelen=74, header_name="Subject").encode(linesep="\r\n")
    return f"Subject: {words}\r\n"


_POLICY = _Policy(linesep="\r\n", max_line_length=250)
"""Lines are long enough for a subject in ASCII, which is not folded."""


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
    message = EmailMessage(policy=_POLICY)
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
    facts = {
        "alert": alert,
        "headline": f"{alert.pipeline}: {alert.happened}",
        "colour": _GOOD if alert.good and alert.level == "info" else _COLOURS[alert.level],
        "table": alert.aligned(WIDTH),
        "is_of_all": alert.pipeline in RESERVED,
        "buttons": [(label, url) for label, url in alert.links if url.startswith(("http://", "https://"))],
    }
    message.set_content(_templates().get_template("alert.txt.j2").render(facts))
    message.add_alternative(_templates().get_template("alert.html.j2").render(facts), subtype="html")
    return message


def is_address(recipient: str) -> bool:
    """Whether a mail server can take it."""
    return _ADDRESS.fullmatch(recipient) is not None


def _address(recipient: str) -> Address:
    if not is_address(recipient):
        raise ValueError(f"{recipient!r} is no address of a mail")
    return Address(addr_spec=recipient)


def _message_id(letter_id: str) -> str:
    return f"<{letter_id}@{DOMAIN}>"


def _wrapped(text: str, indent: str = "") -> str:
    """Text in lines that are read on any screen; an address is never broken."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


@cache
def _templates() -> jinja2.Environment:
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.filters["wrapped"] = _wrapped
    return templates
