"""One mail for one cause, and none that is lost: through a real server, with real processes, some of them killed."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
import signal
import smtplib
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from multiprocessing.synchronize import Event
from typing import Any

import pytest

from noria.alerts import Alert, deliver, over, post, to_message
from noria.alerts.folding import fold
from noria.alerts.letters import Letter
from noria.alerts.sending import REFUSED_TRIES, Refused, Send
from noria.errors import BusyError
from noria.lake.disk import DiskLake
from noria.pipeline import Alerts
from noria.workspace import Workspace
from tests.support.forks import garbage_kept
from tests.unit.alerts.conftest import Outbox

TEAM = ("team@example.org",)
FAILURES = ("failed run", "failed validation")


def failure(run: object = "r1", why: str = "no space left on device", **changes: object) -> Alert:
    values = {
        "kind": "failed run",
        "cause": f"train: StorageError: {why}",
        "run_id": str(run),
        "links": [("Run", f"http://127.0.0.1/runs/{run}")],
        **changes,
    }
    return Alert("students", f"the run failed in train: {why}", **values)


def text(mail: EmailMessage) -> str:
    """The plain text without its line breaks."""
    return " ".join(str(mail.get_body(("plain",)).get_content()).split())


def test_the_first_goes_out_at_once_and_leaves_only_what_folds_the_next(outbox: Outbox) -> None:
    post(failure(), TEAM, None, outbox.workspace)
    assert outbox.deliver().sent == 1
    assert outbox.subjects == ["[Noria error] students: the run failed in train: no space left on device"]
    assert [path.split("/")[1] for path in outbox.left] == ["causes"]


def _post_many(begin: Event, workspace: Workspace, port: int, start: int, count: int) -> None:
    def send(message: EmailMessage, recipients: Sequence[str]) -> Refused:
        message["From"] = "noria@example.org"
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as server:
            return server.send_message(message, to_addrs=list(recipients))

    begin.wait()
    for number in range(start, start + count):
        post(failure(f"run-{number}"), TEAM, None, workspace)
        deliver(workspace, send)


def test_500_failures_of_one_cause_by_many_processes_are_one_mail_and_one_digest(outbox: Outbox) -> None:
    fork = multiprocessing.get_context("fork")
    begin = fork.Event()  # when all are forked: the server's thread is at rest until then, and holds no lock
    shares = [(begin, outbox.workspace, outbox.server.port, 50 * worker, 50) for worker in range(10)]
    workers = [fork.Process(target=_post_many, args=share) for share in shares]
    with garbage_kept():
        for worker in workers:
            worker.start()
    begin.set()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    outbox.deliver()
    (first,) = outbox.server.mails
    outbox.deliver(hours=24)
    _, digest = outbox.server.mails
    assert "seen 499 times more: the run failed in train" in digest["Subject"]
    assert digest["In-Reply-To"] == first["Message-ID"]
    assert "499 times, first 2026-03-02 12:00 UTC, last 2026-03-02 12:00 UTC" in text(digest)
    assert text(digest).count("http://127.0.0.1/runs/run-") == 20
    outbox.deliver(hours=48)
    assert len(outbox.server.mails) == 2
    assert outbox.left == []


def test_after_a_day_it_is_news_again(outbox: Outbox) -> None:
    for hours in (0, 23, 1):
        outbox.now += timedelta(hours=hours)
        post(failure(), TEAM, None, outbox.workspace)
        outbox.deliver()
    first, second = [s for s in outbox.subjects if "seen" not in s]
    assert first == second
    assert len(outbox.server.mails) == 3, "and a digest of the one in between"


def test_a_good_run_ends_the_causes_of_its_pipeline_only(outbox: Outbox) -> None:
    other = Alert("trails", "the run failed in train: no space left on device", kind="failed run")
    for alert in (failure(), failure("r2"), other, other):
        post(alert, TEAM, None, outbox.workspace)
    over("students", FAILURES, outbox.workspace)
    post(failure("r3"), TEAM, None, outbox.workspace)
    outbox.deliver()
    assert sorted(outbox.subjects) == [
        "[Noria error] students: the run failed in train: no space left on device",
        "[Noria error] students: the run failed in train: no space left on device",
        "[Noria error] trails: the run failed in train: no space left on device",
        "[Noria] students: over now, seen once more: the run failed in train: no space left on device",
    ]


def test_what_differs_is_news(outbox: Outbox) -> None:
    causes = [
        failure(why="no such column"),
        failure(),
        failure(kind="late run"),
        failure(severity="critical"),
        Alert("trails", "the run failed in train: no space left on device", kind="failed run"),
    ]
    for number, alert in enumerate(causes):
        post(alert, TEAM, None, outbox.workspace)
        outbox.now += timedelta(seconds=number)
    post(failure(), ("boss@example.org",), None, outbox.workspace)
    outbox.deliver()
    assert len(outbox.server.mails) == len(causes) + 1


def test_good_news_that_is_told_twice_needs_no_digest(outbox: Outbox) -> None:
    for _ in range(2):
        post(Alert("students", "new champion", good=True, cause="run 1"), TEAM, None, outbox.workspace)
    outbox.deliver()
    outbox.deliver(hours=25)
    assert outbox.subjects == ["[Noria] students: new champion"]


@pytest.mark.parametrize(("least", "mails"), [("info", 1), ("error", 1), ("critical", 0)])
def test_milder_ones_are_not_mailed(outbox: Outbox, least: str, mails: int) -> None:
    post(failure(), TEAM, Alerts(least_severity=least), outbox.workspace)
    assert outbox.deliver().sent == mails


QUIET = Alerts(quiet_hours={"start": "22:00", "end": "07:00", "timezone": "Europe/Vienna"})
NIGHT = datetime(2026, 3, 2, 22, 30, tzinfo=UTC)


def test_quiet_hours_end_with_one_digest(outbox: Outbox) -> None:
    outbox.now = NIGHT
    for alert in (failure("r1"), failure("r2"), failure("r3"), Alert("trails", "candidate rejected")):
        post(alert, TEAM, QUIET, outbox.workspace)
    post(failure("r4", severity="critical"), TEAM, QUIET, outbox.workspace)
    assert outbox.deliver().sent == 1
    assert outbox.subjects == ["[Noria CRITICAL] students: the run failed in train: no space left on device"]
    over("students", FAILURES, outbox.workspace)
    assert outbox.deliver(hours=7, minutes=29).sent == 0
    assert outbox.deliver(minutes=1).sent == 1
    digest = outbox.server.mails[-1]
    assert digest["Subject"].startswith(
        "[Noria error] trails, students: digest of 2 causes, 4 times: candidate rejected"
    )
    assert "failed run, error: 3 times, first 2026-03-02 22:30 UTC" in text(digest)
    assert outbox.deliver(hours=25).sent == 0


def test_the_digest_of_a_night_says_and_links_to_what_its_mails_would_have(outbox: Outbox) -> None:
    outbox.now = NIGHT
    report = ("Cost report", "http://127.0.0.1/noria/costs")
    half = Alert("students", "half is spent", kind="budget", details=["At its end it will be 62."], links=[report])
    for alert in (half, Alert("trails", "all is spent", kind="budget", links=[report]), failure("r1")):
        post(alert, TEAM, QUIET, outbox.workspace)
    outbox.deliver(hours=8)
    (digest,) = outbox.server.mails
    assert "At its end it will be 62." in text(digest)
    assert text(digest).count("Cost report: http://127.0.0.1/noria/costs") == 1
    assert "http://127.0.0.1/runs/r1" in text(digest)


def test_a_question_of_the_night_keeps_a_mail_of_its_own(outbox: Outbox) -> None:
    outbox.now = NIGHT
    answer = ("Approve or decline", "http://127.0.0.1/answer")
    question = failure("r1", kind="approval", links=[answer], header=("Metric", "Value"), rows=[("r2", "0.9")])
    for alert in (question, failure("r2"), Alert("trails", "candidate rejected")):
        post(alert, TEAM, QUIET, outbox.workspace)
    assert outbox.deliver(hours=8).sent == 2
    asked, digest = sorted(outbox.server.mails, key=lambda mail: "digest" in mail["Subject"])
    assert "Approve or decline: http://127.0.0.1/answer" in text(asked) and "r2 0.9" in text(asked)
    assert "digest of 2 causes" in digest["Subject"]


def test_a_night_with_one_mail_needs_no_digest(outbox: Outbox) -> None:
    outbox.now = NIGHT
    post(failure(details=["the whole story"]), TEAM, QUIET, outbox.workspace)
    outbox.deliver()
    outbox.deliver(hours=8)
    assert "the whole story" in text(outbox.server.mails[0])


# A server that is away, or refuses


def test_while_the_server_is_away_mails_wait_and_it_is_asked_ever_more_seldom(outbox: Outbox) -> None:
    asked: list[datetime] = []

    def away(_message: EmailMessage, _recipients: Sequence[str]) -> Refused:
        asked.append(outbox.now)
        raise ConnectionRefusedError("nobody listens")

    post(failure(), TEAM, None, outbox.workspace)
    post(failure(kind="late run"), TEAM, None, outbox.workspace)
    for _minute in range(180):
        trouble = deliver(outbox.workspace, away).trouble
        assert "nobody listens" in trouble
        outbox.now += timedelta(minutes=1)
    assert [(b - a).seconds // 60 for a, b in itertools.pairwise(asked)] == [1, 2, 4, 8, 16, 32, 60]
    assert outbox.deliver(hours=1).sent == 2
    assert not [path for path in outbox.left if "causes" not in path]


@pytest.mark.parametrize("trouble", ["hangs up", "login refused", "421", "no disk"])
def test_a_mail_that_is_not_taken_is_sent_later(outbox: Outbox, trouble: str) -> None:
    post(failure(), TEAM, None, outbox.workspace)
    server = outbox.server
    server.hangs_up = trouble == "hangs up"
    server.password = "secret" if trouble == "login refused" else None
    server.says = {"421": "421 going down", "no disk": "452 insufficient system storage"}.get(trouble, "250 kept")
    outcome = outbox.deliver()
    assert outcome.sent == 0
    assert bool(outcome.trouble) == (trouble != "no disk")
    server.behave()
    assert outbox.deliver(minutes=2).sent == 1


def test_who_is_refused_for_now_gets_it_later_and_the_others_only_once(outbox: Outbox) -> None:
    outbox.server.refuses = {"slow@example.org": "451 come back later"}
    post(failure(), (*TEAM, "slow@example.org"), None, outbox.workspace)
    assert outbox.deliver().sent == 1
    outbox.deliver(minutes=1)
    outbox.server.refuses = {}
    outbox.deliver(minutes=2)
    (to_team, first), (to_slow, second) = outbox.server.kept
    assert (to_team, to_slow) == (list(TEAM), ["slow@example.org"])
    assert first["Message-ID"] == second["Message-ID"]
    assert outbox.deliver(hours=1).sent == 0


def test_who_is_refused_for_good_is_given_up_after_some_tries(outbox: Outbox) -> None:
    outbox.server.refuses = {"gone@example.org": "550 no such user"}
    post(failure(), ("gone@example.org",), None, outbox.workspace)
    outcomes = [outbox.deliver(hours=hours).given_up for hours in range(REFUSED_TRIES + 2)]
    assert outcomes == [0] * (REFUSED_TRIES - 1) + [1, 0, 0]
    (kept,) = [path for path in outbox.left if "causes" not in path]
    assert kept.startswith("outbox/undeliverable/")
    letter = Letter.model_validate_json(outbox.workspace.lake.read(kept))
    assert letter.trouble == {"gone@example.org": "550 no such user"}


def test_an_address_that_no_server_takes_keeps_nothing_else_back(outbox: Outbox) -> None:
    post(failure(), ("a@example.org\nBcc: b@example.org",), None, outbox.workspace)
    post(failure(), TEAM, None, outbox.workspace)
    assert outbox.deliver().sent == 1
    assert [to for to, _ in outbox.server.kept] == [list(TEAM)]


@pytest.mark.parametrize("odd", ["anna.@x.at", "a..b@x.at", "jörg@x.at", "a:b@x.at", "anna@größe.at"])
def test_an_odd_address_among_others_silences_only_itself(outbox: Outbox, odd: str) -> None:
    post(failure(), (odd, *TEAM), None, outbox.workspace)
    first = outbox.deliver()
    assert (first.sent, first.trouble) == (1, "")
    given_up = sum(outbox.deliver(hours=1).given_up for _ in range(REFUSED_TRIES))
    (only,) = outbox.server.kept
    assert (only[0], given_up) == (list(TEAM), 1)
    (kept,) = [path for path in outbox.left if "causes" not in path]
    assert Letter.model_validate_json(outbox.workspace.lake.read(kept)).recipients == (odd,)


def test_a_server_without_what_the_connection_asks_for_is_in_trouble_and_no_letter_is_given_up(outbox: Outbox) -> None:
    def send(_message: EmailMessage, _recipients: Sequence[str]) -> Refused:
        raise smtplib.SMTPNotSupportedError("STARTTLS extension not supported by server.")

    post(failure(), TEAM, None, outbox.workspace)
    for _ in range(REFUSED_TRIES + 1):
        done = deliver(outbox.workspace, send)
        assert (done.given_up, "STARTTLS" in done.trouble) == (0, True)
        outbox.now += timedelta(hours=1)
    assert outbox.deliver().sent == 1


def test_who_has_no_time_leaves_the_rest_to_the_next(outbox: Outbox) -> None:
    def slowly(message: EmailMessage, recipients: Sequence[str]) -> Refused:
        time.sleep(0.05)
        return outbox.server.send(message, recipients)

    for why in ("a", "b", "c"):
        post(failure(why=why), TEAM, None, outbox.workspace)
    assert deliver(outbox.workspace, slowly, seconds=0.04).sent == 1
    assert outbox.deliver().sent == 2


@pytest.mark.parametrize("held", [False, True])
def test_a_clock_that_was_ahead_keeps_nothing_back_once_it_is_right(outbox: Outbox, held: bool) -> None:
    def away(_message: EmailMessage, _recipients: Sequence[str]) -> Refused:
        raise ConnectionRefusedError("nobody listens")

    right = outbox.now
    outbox.now += timedelta(days=400, hours=11)
    post(failure(), TEAM, QUIET if held else None, outbox.workspace)
    deliver(outbox.workspace, away)
    outbox.now = right
    assert outbox.deliver(minutes=1).sent == 1
    post(failure(), TEAM, None, outbox.workspace)
    assert outbox.deliver(hours=1).sent == 1, "the cause of that time folds nothing"


def test_who_has_lost_the_lock_folds_nothing(outbox: Outbox) -> None:
    def lost() -> None:
        raise BusyError("the outbox is another's by now")

    post(failure("r1"), TEAM, None, outbox.workspace)
    fold(outbox.workspace.lake, outbox.now, lambda: None)
    for at in (outbox.now, outbox.now + timedelta(days=2)):
        post(failure("r2"), TEAM, None, outbox.workspace)
        before = outbox.left
        with pytest.raises(BusyError):
            fold(outbox.workspace.lake, at, lost)
        assert outbox.left == before


def test_a_letter_over_which_the_server_is_lost_every_time_keeps_no_other_back(outbox: Outbox) -> None:
    def send(message: EmailMessage, recipients: Sequence[str]) -> Refused:
        if "column" in message["Subject"]:
            raise ValueError("nobody has thought of this")
        return outbox.server.send(message, recipients)

    post(failure(why="no such column"), TEAM, None, outbox.workspace)
    post(failure(), TEAM, None, outbox.workspace)
    assert deliver(outbox.workspace, send).trouble == "ValueError: nobody has thought of this"
    outbox.now += timedelta(minutes=1)
    assert deliver(outbox.workspace, send).sent == 1
    assert outbox.deliver(hours=1).sent == 1, "it is not given up"


def test_a_letter_that_the_server_is_lost_over_waits_by_itself_until_it_is_given_up(outbox: Outbox) -> None:
    """Nothing else waits for the server because of it: alone in the outbox a minute at most, later not at all."""

    def send(message: EmailMessage, recipients: Sequence[str]) -> Refused:
        if "column" in message["Subject"]:
            raise TimeoutError("timed out")
        return outbox.server.send(message, recipients)

    def waited(cause: str) -> int:
        post(failure(severity="critical", cause=cause), TEAM, None, outbox.workspace)
        for minute in itertools.count():
            if deliver(outbox.workspace, send).sent:
                return minute
            outbox.now += timedelta(minutes=1)
        raise AssertionError

    post(failure(why="no such column"), TEAM, None, outbox.workspace)
    for _minute in range(200):
        deliver(outbox.workspace, send)
        outbox.now += timedelta(minutes=1)
    assert waited("a") <= 1
    for cause in "bcd":
        outbox.now += timedelta(hours=1)
        assert waited(cause) == 0
        assert deliver(outbox.workspace, send).trouble == ""
    (kept,) = [path for path in outbox.left if "waiting" in path]
    assert Letter.model_validate_json(outbox.workspace.lake.read(kept)).trouble == {TEAM[0]: "TimeoutError: timed out"}
    outbox.now += timedelta(days=5)
    assert deliver(outbox.workspace, send).given_up == 1
    assert [path for path in outbox.left if "undeliverable" in path and "waiting" not in path]


def test_a_letter_that_cannot_be_written_is_no_trouble_of_the_server(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(alert: Alert, *args: Any, **more: Any) -> EmailMessage:
        if "column" in alert.happened:
            raise ValueError("nobody has thought of this")
        return to_message(alert, *args, **more)

    monkeypatch.setattr("noria.alerts.sending.to_message", written)
    post(failure(why="no such column"), TEAM, None, outbox.workspace)
    post(failure(), TEAM, None, outbox.workspace)
    done = outbox.deliver()
    assert (done.sent, done.trouble) == (1, "")
    assert sum(outbox.deliver(hours=1).given_up for _ in range(REFUSED_TRIES)) == 1


def _sender_refused(_message: EmailMessage, _recipients: Sequence[str]) -> Refused:
    raise smtplib.SMTPSenderRefused(530, b"5.7.0 Authentication required", "noria@localhost")


def _relaying_denied(_message: EmailMessage, recipients: Sequence[str]) -> Refused:
    raise smtplib.SMTPRecipientsRefused(dict.fromkeys(recipients, (554, b"5.7.1 Relay access denied")))


def _may_not_send_as(_message: EmailMessage, _recipients: Sequence[str]) -> Refused:
    raise smtplib.SMTPDataError(550, b"5.7.60 SMTP; Client does not have permissions to send as this sender")


@pytest.mark.parametrize("send", [_sender_refused, _relaying_denied, _may_not_send_as])
def test_a_server_that_refuses_who_sends_is_in_trouble_and_its_mails_are_kept_for_days(
    outbox: Outbox, send: Send
) -> None:
    post(failure(), (*TEAM, "boss@example.org"), None, outbox.workspace)
    for _ in range(4 * REFUSED_TRIES):
        done = deliver(outbox.workspace, send)
        assert (done.given_up, "5.7." in done.trouble) == (0, True)
        outbox.now += timedelta(hours=1)
    assert outbox.deliver().sent == 1
    post(failure(why="no such column"), TEAM, None, outbox.workspace)
    for _ in range(6):
        deliver(outbox.workspace, send)
        outbox.now += timedelta(days=1)
    assert [path.split("/")[1] for path in outbox.left] == ["server.json", "undeliverable"]


def test_a_mail_is_kept_for_its_days_also_where_newer_ones_are_tried_before_it(outbox: Outbox) -> None:
    def away(_message: EmailMessage, _recipients: Sequence[str]) -> Refused:
        raise ConnectionRefusedError("nobody listens")

    for why in "abcdefgh":
        post(failure(why=f"no column {why}"), TEAM, None, outbox.workspace)
        deliver(outbox.workspace, away)
        outbox.now += timedelta(days=1)
    assert outbox.deliver().sent == 5
    assert sum("undeliverable" in path for path in outbox.left) == 3


def test_a_mail_that_is_too_large_is_no_trouble_of_the_server(outbox: Outbox) -> None:
    def send(_message: EmailMessage, _recipients: Sequence[str]) -> Refused:
        raise smtplib.SMTPSenderRefused(552, b"5.3.4 Message size exceeds fixed limit", "noria@localhost")

    post(failure(), TEAM, None, outbox.workspace)
    assert deliver(outbox.workspace, send).trouble == ""


def test_what_follows_a_mail_that_nobody_got_is_news(outbox: Outbox) -> None:
    outbox.server.refuses = {TEAM[0]: "550 no such user"}
    post(failure(), TEAM, None, outbox.workspace)
    assert sum(outbox.deliver(hours=1).given_up for _ in range(REFUSED_TRIES)) == 1
    outbox.server.behave()
    post(failure("r2"), TEAM, None, outbox.workspace)
    assert outbox.deliver().sent == 1


def test_what_follows_a_digest_that_some_got_is_folded(outbox: Outbox) -> None:
    outbox.now = NIGHT
    outbox.server.refuses = {"gone@example.org": "550 no such user"}
    for why in ("no such column", "no space"):
        post(failure(why=why), (*TEAM, "gone@example.org"), QUIET, outbox.workspace)
    outbox.deliver()
    assert sum(outbox.deliver(hours=8 if not turn else 1).given_up for turn in range(REFUSED_TRIES)) == 1
    post(failure(why="no space"), (*TEAM, "gone@example.org"), None, outbox.workspace)
    assert outbox.deliver().sent == 0


def test_what_was_given_up_is_sent_again_once_when_it_is_put_back(outbox: Outbox) -> None:
    outbox.server.refuses = {TEAM[0]: "550 no such user"}
    post(failure(), TEAM, None, outbox.workspace)
    for _ in range(REFUSED_TRIES):
        outbox.deliver(hours=1)
    (kept,) = [path for path in outbox.left if "undeliverable" in path]
    lake = outbox.workspace.lake
    lake.create(kept.replace("undeliverable", "waiting"), lake.read(kept))
    lake.remove(kept)
    assert [outbox.deliver(hours=hours).given_up for hours in (240, 1)] == [0, 0], "all tries are left to it"
    outbox.server.behave()
    assert [outbox.deliver(hours=2).sent for _ in range(2)] == [1, 0]
    assert outbox.left == []


def test_names_of_digests_grow_with_nothing(outbox: Outbox) -> None:
    """A file system takes 255 bytes."""
    outbox.now = NIGHT
    for why in ("no such column", "no space"):
        post(failure(why=why), TEAM, QUIET, outbox.workspace)
    outbox.deliver()
    lake = outbox.workspace.lake
    for path in [path for path in outbox.left if "waiting" in path]:
        letter = json.loads(lake.read(path))
        letter["letter_id"] = letter["letter_id"].ljust(249, "0")
        lake.create(f"outbox/waiting/{letter['letter_id']}.json", json.dumps(letter).encode())
        lake.remove(path)
    assert outbox.deliver(hours=8).sent == 1


def test_a_digest_in_trouble_takes_no_new_ones_in(outbox: Outbox) -> None:
    def away(_message: EmailMessage, _recipients: Sequence[str]) -> Refused:
        raise ConnectionRefusedError("nobody listens")

    outbox.now = NIGHT
    for night in ("ab", "cd"):
        for why in night:
            post(failure(why=f"no column {why}"), TEAM, QUIET, outbox.workspace)
        deliver(outbox.workspace, away)
        outbox.now += timedelta(hours=12)
        deliver(outbox.workspace, away)
        outbox.now += timedelta(hours=12)
    assert outbox.deliver(hours=12).sent == 2
    assert ["digest of 2 causes" in subject for subject in outbox.subjects] == [True, True]


def test_a_digest_that_cannot_be_made_keeps_nothing_back(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_news: object) -> Alert:
        raise ValueError("nobody has thought of this")

    outbox.now = NIGHT
    for why in ("no such column", "no space"):
        post(failure(why=why), TEAM, QUIET, outbox.workspace)
    outbox.deliver()
    monkeypatch.setattr("noria.alerts.sending.digest_alert", broken)
    assert outbox.deliver(hours=8).sent == 2


def test_what_had_to_wait_for_the_server_does_not_disturb_the_night(outbox: Outbox) -> None:
    def away(_message: EmailMessage, _recipients: Sequence[str]) -> Refused:
        raise ConnectionRefusedError("nobody listens")

    outbox.now = NIGHT - timedelta(hours=3)
    post(failure(), TEAM, QUIET, outbox.workspace)
    post(failure(severity="critical"), TEAM, QUIET, outbox.workspace)
    deliver(outbox.workspace, away)
    assert outbox.deliver(hours=5).sent == 1
    assert outbox.subjects == ["[Noria CRITICAL] students: the run failed in train: no space left on device"]
    assert outbox.deliver(hours=6).sent == 1


@pytest.mark.parametrize(
    "change",
    [
        {"posted_at": "2026-03-02T12:00:00"},
        {"next_try": "2026-03-02T12:00:00"},
        {"letter_id": "../../x"},
        {"parts": ["../../x"]},
    ],
)
def test_a_letter_of_which_no_path_or_time_can_be_made_keeps_nothing_back(
    outbox: Outbox, change: dict[str, object]
) -> None:
    lake = outbox.workspace.lake
    for why in ("odd", "no space"):
        post(failure(why=why), TEAM, None, outbox.workspace)
    path = next(iter(lake.list("outbox/arrived")))
    lake.create("outbox/waiting/x.json", json.dumps({**json.loads(lake.read(path)), **change}).encode())
    lake.remove(path)
    lake.create(
        "outbox/server.json",
        b'{"since": "2026-03-02T12:00:00", "tries": 1, "next_try": "2026-03-02T12:00:00", "why": ""}',
    )
    assert outbox.deliver().sent == 1
    assert "outbox/unreadable/x.json" in outbox.left


def test_a_file_that_nobody_can_read_keeps_nothing_back(outbox: Outbox) -> None:
    for folder in ("arrived", "waiting", "causes/students"):
        outbox.workspace.lake.create(f"outbox/{folder}/{folder[0]}.json", b"{")
    post(failure(), TEAM, None, outbox.workspace)
    assert outbox.deliver().sent == 1
    assert {f"outbox/unreadable/{name}.json" for name in "awc"} <= set(outbox.left)


def test_whoever_finds_the_outbox_taken_leaves_it_to_the_other(outbox: Outbox) -> None:
    """The other one looks again, for what came after it had looked."""
    lake = outbox.workspace.lake

    def send(message: EmailMessage, recipients: Sequence[str]) -> Refused:
        if not outbox.server.mails:
            post(failure(kind="late run"), TEAM, None, outbox.workspace)
            with pytest.raises(BusyError), lake.lock("outbox", wait_seconds=0):
                pass
            assert deliver(outbox.workspace, outbox.server.send).sent == 0
        return outbox.server.send(message, recipients)

    post(failure(), TEAM, None, outbox.workspace)
    assert deliver(outbox.workspace, send).sent == 2


# A sender that is killed


class KillingLake(DiskLake):
    """A lake whose user is killed before its change of that number."""

    def __init__(self, lake: DiskLake, number: int) -> None:
        super().__init__(lake._root)
        self.left = number

    def count(self) -> None:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1

    def create(self, path: str, data: bytes) -> bool:
        self.count()
        return super().create(path, data)

    def replace(self, path: str, data: bytes) -> None:
        self.count()
        super().replace(path, data)

    def remove(self, path: str) -> None:
        self.count()
        super().remove(path)


def test_a_sender_that_is_killed_at_any_step_loses_nothing_and_counts_nothing_twice(outbox: Outbox) -> None:
    """Three failures, the end of them, and another one, held back by quiet hours and due now."""
    fork = multiprocessing.get_context("fork")
    outbox.now = NIGHT
    for run in ("r1", "r2", "r3"):
        post(failure(run), TEAM, QUIET, outbox.workspace)
    over("students", FAILURES, outbox.workspace)
    post(Alert("trails", "candidate rejected"), TEAM, QUIET, outbox.workspace)
    post(failure("r4", severity="critical"), TEAM, QUIET, outbox.workspace)
    for step in itertools.count():
        outbox.server.behave()
        home = outbox.home.parent / f"{outbox.home.name}-{step}"
        shutil.copytree(outbox.home, home)
        world = Outbox(home, outbox.server, now=NIGHT + timedelta(hours=8))
        workspace = world.workspace
        killing = Workspace(workspace.settings, KillingLake(workspace.lake, step), clock=workspace.clock)
        sender = fork.Process(target=deliver, args=(killing, world.server.send))
        with garbage_kept():
            sender.start()
        sender.join(30)
        world.deliver()
        mails = {str(mail["Message-ID"]): mail for mail in world.server.mails}
        told = sorted(str(mail["Subject"]) for mail in mails.values())
        assert told == [
            "[Noria CRITICAL] students: the run failed in train: no space left on device",
            "[Noria error] trails, students: digest of 2 causes, 4 times: candidate rejected",
        ], f"killed before change {step}"
        assert world.deliver(hours=1).sent == 0
        if sender.exitcode == 0:
            break
        assert sender.exitcode == -signal.SIGKILL
    assert step > 10
