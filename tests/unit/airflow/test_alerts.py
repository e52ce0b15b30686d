"""What mails say: composed from records, and sent through a real SMTP server."""

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from noria.airflow.alerts import Alert, to_message
from noria.airflow.notifiers import FailureNotifier, VerdictNotifier
from noria.errors import ExitCode
from noria.mailbox import inbox
from noria.mailbox.sink import MailSink
from noria.pipeline import Pipeline, load_spec
from noria.records import Report, Run
from noria.settings import CHECKOUT, Settings
from noria.workspace import Workspace, run_path, safe_run_id
from tests.support.runs import candidate, decision, done, failed, validation

RUN_ID = "manual__2026-01-01T00:00:00+00:00"
UI = "http://127.0.0.1:8080"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NORIA_UI_URL", UI)
    return Workspace.open(Settings.from_env())


@pytest.fixture
def students() -> Pipeline:
    return load_spec(CHECKOUT / "include" / "pipelines" / "students" / "pipeline.yaml")


@pytest.fixture
def run(workspace: Workspace) -> Run:
    return workspace.create_run("students", safe_run_id(RUN_ID))


def send(notifier: Any, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[inbox.Mail]:
    """The mails that a callback of the DAG processor brings about."""
    home = workspace.settings.home
    with MailSink(inbox.folder(home)) as sink:
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "noria@example.org"}
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": sink.port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
        notifier({"dag": DAG("students__retrain", schedule=None), "run_id": RUN_ID, "reason": "task_failure"})
    return inbox.read(home)


def test_a_failed_run(workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    failed(workspace, run, "ingest", "no file /data/pupils.csv. Check the path.")
    (mail,) = send(FailureNotifier(students), workspace, monkeypatch)

    assert mail.to == "data-science@example.org"
    assert mail.subject == "[Noria] students: the run failed in ingest: no file /data/pupils.csv. Check the path."
    first, *rest = mail.text.splitlines()
    assert first == "students: the run failed in ingest: no file /data/pupils.csv. Check the path."
    assert f"Run: {UI}/dags/students__retrain/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00" in rest
    assert "Last lines of the log of ingest:" in rest
    assert "    INFO line 29" in rest
    assert "    INFO line 5" not in rest, "only the last lines"
    assert "/report" not in mail.text, "there is no report to link to"


def test_a_run_that_was_killed(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mail,) = send(FailureNotifier(students), workspace, monkeypatch)
    assert mail.subject == "[Noria] students: the run failed in ingest: it ended without a word"


def test_a_run_that_could_not_begin(workspace: Workspace, students: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    log = workspace.settings.log_file("students", safe_run_id(RUN_ID), "ingest")
    log.parent.mkdir(parents=True)
    log.write_text("ERROR trigger form: unknown trails.\n")
    (mail,) = send(FailureNotifier(students), workspace, monkeypatch)
    assert mail.subject == "[Noria] students: the run could not begin: trigger form: unknown trails."


def test_invalid_data(workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    done(workspace, run, "ingest", Report(html="any record"))
    validation(run, workspace)
    failed(workspace, run, "validate", "1 of 2 expectations failed", exit_code=ExitCode.INVALID_DATA)
    (mail,) = send(FailureNotifier(students), workspace, monkeypatch)

    assert mail.subject == "[Noria] students: the data failed validation: 1 of 2 expectations failed"
    assert "expect_column_mean_to_be_between  math_score  critical  40 to 90  12.5" in mail.text
    assert "expect_table_row_count" not in mail.text
    assert "the champion stays" in mail.text
    assert "/data-docs" in mail.text


def test_a_new_champion(workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    done(workspace, run, "train", candidate(run))
    done(workspace, run, "promote", decision("promote"))
    done(workspace, run, "report", Report(html=run_path("students", run.run_id, "report/report.html")))
    (mail,) = send(VerdictNotifier(students), workspace, monkeypatch)

    assert mail.subject == "[Noria] students: new champion, version 3: r2 0.871, before 0.861"
    table = [line.split() for line in mail.text.splitlines()]
    assert ["r2", "0.871", "0.861", "-0.01", "0.87", "at", "least", "0.8"] in table
    assert ["mae", "4.3", "4.4", "12.2", "4.31"] in table
    assert (
        f"Report: {UI}/noria/dags/students__retrain/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00/report" in mail.text
    )


def test_the_first_champion(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = decision("promote", champion_metrics=None, previous_champion=None, champion_version="1")
    done(workspace, run, "promote", first)
    (mail,) = send(VerdictNotifier(students), workspace, monkeypatch)
    assert mail.subject == "[Noria] students: new champion, version 1: r2 0.871, the first one"


def test_a_rejected_candidate(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(workspace, run, "promote", decision("reject"))
    (mail,) = send(VerdictNotifier(students), workspace, monkeypatch)
    assert mail.subject == "[Noria] students: candidate rejected (r2 0.871): r2 0.871 against at least 0.8"
    assert "failed: r2 0.871 against at least 0.8" in mail.text


@pytest.mark.parametrize(("verdict", "dry_run"), [("keep", False), ("promote", True), ("reject", True)])
def test_no_news_no_mail(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch, verdict: str, dry_run: bool
) -> None:
    done(workspace, run, "promote", decision(verdict, dry_run=dry_run))
    assert send(VerdictNotifier(students), workspace, monkeypatch) == []


def test_nobody_to_tell(workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = students.model_copy(update={"alerts": students.alerts.model_copy(update={"emails": ()})})
    failed(workspace, run, "ingest", "no file")
    assert send(FailureNotifier(quiet), workspace, monkeypatch) == []


def test_a_mail_server_that_is_away_is_an_error_of_the_callback(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": 1, "extra": {"disable_ssl": True}}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    with pytest.raises(OSError, match="refused"):
        FailureNotifier(students)({"dag": DAG("students__retrain", schedule=None), "run_id": RUN_ID})


def test_text_from_outside_stays_text() -> None:
    alert = Alert(
        "students",
        "failed\r\nBcc: everybody@example.org\n\x0bmore\u2028",
        details=["<script>alert(1)</script>"],
        header=("A", "B"),
        rows=[("<b>", "&")],
        links=[("Run", 'http://x/"onclick=')],
        log_stage="ingest",
        log=["<img src=x onerror=alert(1)>"],
    )
    message = to_message(alert, ["a@example.org", "b@example.org"], "noria@example.org")
    headers, _, _ = message.as_bytes().partition(b"\r\n\r\n")

    assert b"\nBcc:" not in headers
    assert message["Subject"] == "[Noria] students: failed Bcc: everybody@example.org more "
    assert message["To"] == "a@example.org, b@example.org"
    assert message.get_content_type() == "multipart/alternative"
    plain, page = (part.get_content() for part in message.iter_parts())
    assert "<script>alert(1)</script>" in plain
    assert "<script>" not in page
    assert "<img" not in page
    assert '/"onclick' not in page


def test_a_long_story_has_a_short_subject() -> None:
    subject = Alert("students", "the run failed in train: " + "x" * 400).subject
    assert len(subject) == 150
    assert subject.endswith("…")


def test_a_candidate_that_came_too_late_is_no_news(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(workspace, run, "promote", decision("promote", registered_version="2", champion_version="3"))
    assert send(VerdictNotifier(students), workspace, monkeypatch) == []


def test_figures_side_by_side_are_of_the_same_rows(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(workspace, run, "promote", decision("promote", compared_rows=83, compared_metrics={"r2": 0.869}))
    (mail,) = send(VerdictNotifier(students), workspace, monkeypatch)
    assert mail.subject.endswith("new champion, version 3: r2 0.869 on 83 holdout rows, before 0.861")
