"""The task that sends what waits, with and without a server."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from noria.airflow.alerts_dag import SendAlertsOperator
from noria.alerts import Alert, post
from noria.alerts.sending import Delivered
from noria.mailbox import inbox
from noria.mailbox.sink import MailSink
from noria.settings import Settings
from noria.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path))
    workspace = Workspace.open(Settings.from_env())
    post(Alert("students", "failed"), ("team@example.org",), None, workspace)
    return workspace


def test_without_a_connection_mails_wait_and_the_log_says_so_once(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        with caplog.at_level(logging.WARNING, "noria"):
            SendAlertsOperator().execute({})
    said = [record.getMessage() for record in caplog.records if "mails wait" in record.getMessage()]
    assert len(said) == 1
    assert "smtp_default" in said[0]
    assert len(list(workspace.lake.list("outbox/waiting"))) == 1


@pytest.mark.parametrize(("outcomes", "passes"), [((1, 1, 0, 1), 3), ((1, "away", 1), 2)])
def test_a_run_makes_passes_as_long_as_mails_go_out(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, outcomes: tuple[int | str, ...], passes: int
) -> None:
    left = [Delivered(trouble=x) if isinstance(x, str) else Delivered(sent=x) for x in outcomes]
    monkeypatch.setattr("noria.alerts.outbox.deliver", lambda _workspace, _send: left.pop(0))
    SendAlertsOperator().execute({})
    assert len(outcomes) - len(left) == passes


def test_with_one_they_are_sent(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    home = workspace.settings.home
    with MailSink(inbox.folder(home)) as sink:
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "noria@example.org"}
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": sink.port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
        SendAlertsOperator().execute({})
    (mail,) = inbox.read(home)
    assert mail.subject == "[Noria error] students: failed"
