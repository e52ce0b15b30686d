"""Callbacks of one batch: what a server in trouble may take of their time, and that none loses its mail."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.sdk import DAG

from noria.airflow import mail
from noria.airflow.mail import Allowance, tell
from noria.airflow.notifiers import FailureNotifier
from noria.alerts import Alert
from noria.errors import StorageError
from noria.pipeline import Alerts, load_spec
from noria.settings import CHECKOUT, Settings
from noria.workspace import Workspace
from tests.support.mail import MailServer

TEAM = Alerts(emails=("team@example.org",))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path / "home"))
    return Workspace.open(Settings.from_env())


@pytest.fixture
def silent() -> Iterator[int]:
    """A server that takes calls and never says a word; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def connect(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"disable_ssl": True, "disable_tls": True}
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))


def test_a_silent_server_holds_up_one_callback_of_a_batch_and_only_once(
    workspace: Workspace, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(silent, monkeypatch)
    monkeypatch.setattr(mail, "PATIENCE_SECONDS", 0.3)
    students = load_spec(CHECKOUT / "include" / "pipelines" / "students" / "pipeline.yaml")
    begun = time.monotonic()
    for name in ("students", "trails"):
        notifier = FailureNotifier(students.model_copy(update={"name": name}))
        notifier({"dag": DAG(f"{name}__retrain", schedule=None), "run_id": "manual__2026"})
    assert time.monotonic() - begun < 1.5, "five tries more would take that long"
    kept = [workspace.lake.read(path).decode() for path in workspace.lake.list("outbox/waiting")]
    assert sorted("trails: the run" in text or '"trails"' in text for text in kept) == [False, True]


def test_a_server_that_is_slow_at_each_command_takes_no_more_than_that_of_a_callback(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(mail, "SENDING", Allowance(seconds=0.1, window_seconds=60))
    with MailServer(slow_seconds=0.1) as server:
        connect(server.port, monkeypatch)
        team = Alerts(emails=tuple(f"r{number}@example.org" for number in range(10)))
        assert tell([Alert("students", "failed")], team, workspace).trouble
        assert not server.mails, "all recipients would take a second"
    assert list(workspace.lake.list("outbox/waiting"))


def test_a_server_that_ends_the_connection_after_each_mail_is_called_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MailServer(closes=True) as server:
        connect(server.port, monkeypatch)
        done = tell([Alert("students", f"failed {'abc'[number]}") for number in range(3)], TEAM, workspace)
        assert (done.sent, done.trouble) == (3, "")
        assert len(server.mails) == 3


def test_callbacks_share_the_time_for_sending_and_keep_what_is_left(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "SENDING", Allowance(seconds=0.05, window_seconds=60))
    with MailServer() as server:
        connect(server.port, monkeypatch)
        for number in range(3):
            tell([Alert("students", f"failed {'abc'[number]}")], TEAM, workspace)
            mail.SENDING.take(0.05)
        assert len(server.mails) == 1
        assert len(list(workspace.lake.list("outbox/arrived"))) == 2, "nor is time taken for folding"
        monkeypatch.setattr(mail, "SENDING", Allowance(seconds=15, window_seconds=60))
        tell([], TEAM, workspace)
        assert len(server.mails) == 3


def test_an_allowance_is_given_anew_after_a_while() -> None:
    allowance = Allowance(seconds=5, window_seconds=0.02)
    assert allowance.left_seconds == 5
    allowance.take(6)
    assert allowance.left_seconds == -1
    time.sleep(0.03)
    assert allowance.left_seconds == 5


def test_without_outbox_and_server_each_alert_has_its_turn(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(mail, "post", gone)
    monkeypatch.setattr(mail, "deliver", gone)
    connect(1, monkeypatch)
    with pytest.raises(StorageError):
        tell([Alert("students", "one"), Alert("students", "two")], TEAM, workspace)
    lost = [record.getMessage() for record in caplog.records if "is lost" in record.getMessage()]
    assert ["one" in lost[0], "two" in lost[1]] == [True, True]
    with MailServer() as server:
        connect(server.port, monkeypatch)
        with pytest.raises(StorageError):
            tell([Alert("students", "one"), Alert("students", "two")], TEAM, workspace)
        assert len(server.mails) == 2
