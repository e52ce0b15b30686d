"""A mail server for all tests of a module, and an outbox for each."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from noria.alerts import deliver
from noria.alerts.sending import Delivered
from noria.settings import Settings
from noria.workspace import Workspace
from tests.support.mail import MailServer


@dataclass
class Outbox:
    """An outbox with a clock that tests set, and the server that it sends to."""

    home: Path
    server: MailServer
    now: datetime = datetime(2026, 3, 2, 12, tzinfo=UTC)
    workspace: Workspace = field(init=False)

    def __post_init__(self) -> None:
        settings = Settings.from_env({}, home=self.home)
        self.workspace = Workspace(settings, Workspace.open(settings).lake, clock=self.clock)

    def clock(self) -> datetime:
        """A moment later each time, as letters are told apart by when they came."""
        self.now += timedelta(microseconds=1)
        return self.now

    def deliver(self, **later: float) -> Delivered:
        """Send what is due, after a while."""
        self.now += timedelta(**later)
        return deliver(self.workspace, self.server.send)

    @property
    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.server.mails]

    @property
    def left(self) -> list[str]:
        """What stands in the outbox."""
        return list(self.workspace.lake.list("outbox"))


@pytest.fixture(scope="module")
def smtp() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def outbox(tmp_path: Path, smtp: MailServer, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    # What a process has written outlives it without that; waiting for the disk takes most of these tests' time.
    monkeypatch.setattr("noria.lake.disk._sync", lambda _path: None)
    smtp.behave()
    return Outbox(tmp_path, smtp)
