"""Reading the mails that the sink has kept."""

from __future__ import annotations

import email
import email.policy
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Mail:
    """One mail as a person sees it.

    Attributes:
        number: Its place in the inbox, from 1 for the oldest.
        received_at: When it came, in UTC.
        to, subject: From its header.
        text: Its plain text.
        path: The .eml file.
    """

    number: int
    received_at: datetime
    to: str
    subject: str
    text: str
    path: Path


def folder(home: Path) -> Path:
    """Where mails are kept below NORIA_HOME."""
    return home / "mail"


def read(home: Path) -> list[Mail]:
    """All mails, oldest first."""
    return [_parse(number, path) for number, path in enumerate(sorted(folder(home).glob("[!.]*.eml")), start=1)]


def _parse(number: int, path: Path) -> Mail:
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    body = message.get_body(preferencelist=("plain", "html"))
    return Mail(
        number=number,
        received_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
        to=str(message["To"] or ""),
        subject=str(message["Subject"] or "(no subject)"),
        text=str(body.get_content()) if body is not None else "",
        path=path,
    )
