"""What the doctor says of mails that wait."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from noria.alerts import Alert, deliver, over, post
from noria.alerts.sending import REFUSED_TRIES
from noria.doctor.outbox import check_outbox
from noria.pipeline import Alerts
from noria.settings import Settings
from noria.workspace import Workspace

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
AT_NOON = Alerts(quiet_hours={"start": "12:00", "end": "13:00"})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    settings = Settings.from_env({}, home=tmp_path)
    return Workspace(settings, Workspace.open(settings).lake, clock=lambda: NOON)


def test_an_empty_outbox_is_well(workspace: Workspace) -> None:
    assert check_outbox(workspace.lake, NOON)[0] == "ok"


def test_a_mail_of_quiet_hours_is_well_until_they_have_ended(workspace: Workspace) -> None:
    post(Alert("students", "failed"), ("team@example.org",), AT_NOON, workspace)
    deliver(workspace, lambda _message, _recipients: {})
    assert check_outbox(workspace.lake, NOON)[:2] == (
        "ok",
        "nothing should have been sent by now; 1 held for the end of quiet hours",
    )
    status, detail, remedy = check_outbox(workspace.lake, NOON + timedelta(hours=2))
    assert (status, detail) == ("warn", "1 mail waits to be sent")
    assert "send_alerts" in remedy


def test_a_mail_that_nobody_looks_at_is_told_of(workspace: Workspace) -> None:
    post(Alert("students", "failed"), ("team@example.org",), None, workspace)
    over("students", ("failed run",), workspace)
    assert check_outbox(workspace.lake, NOON + timedelta(minutes=59))[0] == "ok"
    assert check_outbox(workspace.lake, NOON + timedelta(hours=1))[:2] == ("warn", "1 mail waits to be sent")


def test_a_server_in_trouble_is_told_with_the_reason(workspace: Workspace) -> None:
    def away(_message: object, _recipients: object) -> dict[str, tuple[int, bytes]]:
        raise ConnectionRefusedError("nobody listens")

    post(Alert("students", "failed"), ("team@example.org",), None, workspace)
    deliver(workspace, away)
    status, detail, _ = check_outbox(workspace.lake, NOON)
    assert status == "warn"
    assert detail == (
        "1 mail waits, because the server cannot be used, since 2026-03-02 12:00 UTC: "
        "ConnectionRefusedError: nobody listens"
    )


def test_a_mail_that_is_not_taken_is_told_with_the_answer(workspace: Workspace) -> None:
    post(Alert("students", "failed"), ("full@example.org",), None, workspace)
    deliver(workspace, lambda _message, to: dict.fromkeys(to, (452, b"mailbox full")))
    assert check_outbox(workspace.lake, NOON)[:2] == (
        "warn",
        "1 mail waits to be sent; one was not taken: 452 mailbox full",
    )


def test_a_mail_that_was_given_up_is_named(workspace: Workspace) -> None:
    post(Alert("students", "failed"), ("gone@example.org",), None, workspace)
    for day in range(REFUSED_TRIES):
        deliver(workspace, lambda _message, to: dict.fromkeys(to, (550, b"no")), NOON + timedelta(hours=day))
    status, detail, remedy = check_outbox(workspace.lake, NOON)
    assert status == "warn"
    assert "could not be delivered" in detail
    assert "to outbox/waiting/" in remedy
    assert "outbox/undeliverable/2026" in detail
