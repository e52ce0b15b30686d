"""What mails say: composed from records, and sent through a real SMTP server."""

import contextlib
import email
import email.policy
import html
import json
import shutil
import smtplib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from noria.airflow import notifiers
from noria.airflow.defaults import BUDGET_TASK, MAIL_LOG
from noria.airflow.notifiers import (
    FailedRollbackNotifier,
    FailureNotifier,
    RollbackNotifier,
    VerdictNotifier,
    WaitingNotifier,
)
from noria.alerts import Alert, deliver, post
from noria.alerts.budgets import stopped_alert
from noria.costs.budgets import JUDGEMENT, keep_judgement
from noria.errors import ExitCode
from noria.mailbox import inbox
from noria.mailbox.sink import MailSink
from noria.pipeline import ApprovalPolicy, Pipeline, load_spec
from noria.records import (
    NOBODY,
    Approval,
    ChampionVersion,
    Decision,
    LedgerEntry,
    LedgerEvent,
    Report,
    Rollback,
    Run,
    stages_of,
)
from noria.settings import CHECKOUT, Settings
from noria.stages.rollback import rollback_path
from noria.workspace import APPROVAL, Workspace, run_path, safe_run_id, to_json
from tests.support.mail import sent_by
from tests.support.proposals import empty_registry
from tests.support.runs import candidate, decision, done, failed, judgement, rule, validation

RUN_ID = "manual__2026-01-01T00:00:00+00:00"
UI = "http://127.0.0.1:8080"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty_registry(tmp_path_factory)


@pytest.fixture
def workspace(tmp_path: Path, registry: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    home = tmp_path / "home"
    (home / "registry").mkdir(parents=True)
    shutil.copy(registry, home / "registry" / "mlflow.db")
    monkeypatch.setenv("NORIA_HOME", str(home))
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


def page(mail: inbox.Mail) -> str:
    """The HTML of a mail."""
    message = email.message_from_bytes(mail.path.read_bytes(), policy=email.policy.default)
    return str(message.get_body(("html",)).get_content())


def flowing(mail: inbox.Mail) -> str:
    """The plain text without its line breaks."""
    return " ".join(mail.text.split())


def answer(*, approved: bool, by: str = "anna", reason: str = "looks right") -> Approval:
    return Approval(
        pipeline="students",
        run_id="r",
        model_sha256="0" * 64,
        previous_champion="2",
        approved=approved,
        by=by,
        reason=reason,
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_a_failed_run(workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    failed(workspace, run, "ingest", "no file /data/pupils.csv. Check the path.")
    (mail,) = send(FailureNotifier(students), workspace, monkeypatch)

    assert mail.to == "data-science@example.org"
    assert mail.subject == "[Noria error] students: the run failed in ingest: no file /data/pupils.csv. Check the path."
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
    assert mail.subject == "[Noria error] students: the run failed in ingest: it ended without a word"


def test_a_run_that_could_not_begin(workspace: Workspace, students: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    log = workspace.settings.log_file("students", safe_run_id(RUN_ID), "ingest")
    log.parent.mkdir(parents=True)
    log.write_text("ERROR trigger form: unknown trails.\n")
    (mail,) = send(FailureNotifier(students), workspace, monkeypatch)
    assert mail.subject == "[Noria error] students: the run could not begin: trigger form: unknown trails."


def judges(workspace: Workspace, run: Run) -> None:
    keep_judgement(judgement("warn"), run, workspace)


def asks_about_the_budget(workspace: Workspace, run: Run) -> None:
    keep_judgement(judgement("approve"), run, workspace)


def leaves_half_a_judgement(workspace: Workspace, run: Run) -> None:
    workspace.lake.create(run_path("students", run.run_id, JUDGEMENT), b"half of it {")


def asks_about_the_candidate(workspace: Workspace, run: Run) -> None:
    judges(workspace, run)
    for stage in stages_of(run.pipeline)[:-2]:
        done(workspace, run, stage, decision("promote", waiting=True))


def carries_out(workspace: Workspace, run: Run) -> None:
    asks_about_the_candidate(workspace, run)
    workspace.lake.create(run_path("students", run.run_id, APPROVAL), b"{}")


@pytest.mark.parametrize(
    ("step", "with_budget", "task"),
    [
        (None, True, "budget"),
        (None, False, "ingest"),
        (lambda *_: None, True, "budget"),
        (asks_about_the_budget, True, "budget"),
        (judges, True, "ingest"),
        (leaves_half_a_judgement, True, "ingest"),
        (asks_about_the_candidate, True, "approve"),
        (carries_out, True, "release"),
    ],
)
def test_the_log_that_is_linked_is_of_the_task_that_failed(
    workspace: Workspace,
    students: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    step: Callable[[Workspace, Run], None] | None,
    with_budget: bool,
    task: str,
) -> None:
    if step:
        gate = students.gate.model_copy(update={"approval": ApprovalPolicy()})
        run = workspace.create_run("students", safe_run_id(RUN_ID))
        run = run.model_copy(update={"pipeline": run.pipeline.model_copy(update={"gate": gate})})
        monkeypatch.setattr(Workspace, "load_run", lambda *_: run)
        step(workspace, run)
    told: list[Alert] = []
    monkeypatch.setattr(notifiers, "tell", lambda alerts, *_: told.extend(alerts))
    with DAG("students__retrain", schedule=None) as dag:
        if with_budget:
            EmptyOperator(task_id=BUDGET_TASK)
    FailureNotifier(students)({"dag": dag, "run_id": RUN_ID})
    label, address = told[0].links[-1]
    assert (label, address.rpartition("/")[2]) == (f"Log of {task}", task)


def test_invalid_data(workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    done(workspace, run, "ingest", Report(html="any record"))
    validation(run, workspace)
    failed(workspace, run, "validate", "1 of 2 expectations failed", exit_code=ExitCode.INVALID_DATA)
    (mail,) = send(FailureNotifier(students), workspace, monkeypatch)

    assert mail.subject == "[Noria error] students: the data failed validation: 1 of 2 expectations failed"
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
    assert ["Metric", "r2", "mae", "rmse", "rae", "rse"] in table
    assert ["Candidate", "0.871", "4.3", "5.4", "0.35", "0.13"] in table
    assert ["Champion", "before", "0.861", "4.4", "5.5", "0.36", "0.14"] in table
    assert ["Baseline", "dummy", "-0.01", "12.2"] in table
    assert ["Required", "at", "least", "0.8"] in [line[:4] for line in table]
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
    assert mail.subject == "[Noria warning] students: candidate rejected (r2 0.871): r2 0.871 against at least 0.8"
    assert "FAIL  required  threshold: r2 0.871 against at least 0.8" in mail.text
    assert "Version 2 stays in use." in mail.text
    assert "<li>Version 2 stays in use.</li>" in page(mail)


@pytest.mark.parametrize(("verdict", "dry_run"), [("keep", False), ("promote", True), ("reject", True)])
def test_no_news_no_mail(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch, verdict: str, dry_run: bool
) -> None:
    done(workspace, run, "promote", decision(verdict, dry_run=dry_run))
    assert send(VerdictNotifier(students), workspace, monkeypatch) == []


@pytest.mark.parametrize(
    ("kind", "record", "noted"),
    [
        (VerdictNotifier, "keep", "was told, if it is news"),
        (FailureNotifier, None, "was told, if it is news"),
        (VerdictNotifier, "half of it {", "could not be told"),
        (WaitingNotifier, "keep", None),
    ],
)
def test_that_the_end_of_a_run_was_told_is_noted(
    kind: type[Any],
    record: str | None,
    noted: str | None,
    workspace: Workspace,
    run: Run,
    students: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if record == "keep":
        done(workspace, run, "promote", decision("keep"))
    elif record:
        workspace.lake.create(run_path("students", run.run_id, "promote"), record.encode())
    with contextlib.suppress(ValueError):
        send(kind(students), workspace, monkeypatch)
    log = workspace.settings.log_file("students", run.run_id, MAIL_LOG)
    assert log.exists() == (noted is not None)
    assert noted is None or noted in log.read_text()


@pytest.mark.parametrize(("breaks", "told"), [(False, 2), (True, 1)])
def test_a_run_within_its_budget_ends_what_was_told_of_those_that_were_stopped(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch, breaks: bool, told: int
) -> None:
    failed(workspace, run, "budget", "the run breaks its budget")
    failure = workspace.failure(run)
    assert failure is not None
    stopped = stopped_alert(run, failure, judgement("stop"), [])
    post(stopped, students.alerts.emails, students.alerts, workspace)
    keep_judgement(judgement("warn").model_copy(update={} if breaks else {"bounds": ()}), run, workspace)
    done(workspace, run, "promote", decision("keep"))
    send(VerdictNotifier(students), workspace, monkeypatch)
    post(stopped, students.alerts.emails, students.alerts, workspace)
    assert len(send(VerdictNotifier(students), workspace, monkeypatch)) == told


def test_nobody_to_tell(workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = students.model_copy(update={"alerts": students.alerts.model_copy(update={"emails": ()})})
    failed(workspace, run, "ingest", "no file")
    assert send(FailureNotifier(quiet), workspace, monkeypatch) == []


def test_a_mail_that_no_server_takes_waits_and_changes_nothing(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": 1, "extra": {"disable_ssl": True}}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    FailureNotifier(students)({"dag": DAG("students__retrain", schedule=None), "run_id": RUN_ID})
    with MailSink(inbox.folder(workspace.settings.home)) as sink, smtplib.SMTP("127.0.0.1", sink.port) as server:
        later = workspace.clock() + timedelta(hours=2)
        assert deliver(workspace, partial(sent_by, server), later).sent == 1
    (mail,) = inbox.read(workspace.settings.home)
    assert mail.subject == "[Noria error] students: the run failed in ingest: it ended without a word"


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


NEWS: dict[str, tuple[str, Decision, str, str]] = {
    "declined": (
        "warning",
        decision("keep", approval=answer(approved=False, reason="the term has not ended")),
        "candidate declined by anna: the term has not ended",
        "Declined by anna",
    ),
    "too late to approve": (
        "warning",
        decision("keep", approval=answer(approved=False, by=NOBODY, reason="no answer within 24 hours")),
        "candidate not approved in time, the champion stays: no answer within 24 hours",
        "Nobody answered in time",
    ),
    "approved in vain": (
        "warning",
        decision("keep", approval=answer(approved=True), reasons=("the champion is version 3 by now",)),
        "approved by anna, but the champion stays: the champion is version 3 by now",
        "Approved by anna",
    ),
    "forced": (
        "error",
        decision("reject", forced="anna: the old one is unfair", registered_version="3", champion_version="3"),
        "PROMOTED BY FORCE past the gate, version 3: anna: the old one is unfair",
        "Version 3 was promoted against the gate's verdict: anna: the old one is unfair",
    ),
    "written around": (
        "CRITICAL",
        decision("reject", rules=(rule("registry", "version 7 has no verdict"),), dry_run=True),
        "THE REGISTRY WAS WRITTEN TO AROUND THE GATE, nothing is promoted: version 7 has no verdict",
        "version 7 has no verdict",
    ),
    "champion gone": (
        "warning",
        decision("keep", champion_metrics=None, rules=(rule("champion", "the file of version 2 is gone"),)),
        "WARNING, the champion, version 2, cannot be compared: the file of version 2 is gone",
        "FAIL  required  champion: the file of version 2 is gone",
    ),
}


@pytest.mark.parametrize("case", NEWS)
def test_what_else_is_news(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    tag, news, happened, fact = NEWS[case]
    done(workspace, run, "promote", news)
    (mail,) = send(VerdictNotifier(students), workspace, monkeypatch)
    assert mail.subject == f"[Noria {tag}] students: {happened}"
    assert " ".join(fact.split()) in flowing(mail)
    assert fact in html.unescape(page(mail))


def entry(event: LedgerEvent, run_id: str, version: str | None = None) -> LedgerEntry:
    return LedgerEntry(
        pipeline="students",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        event=event,
        run_id=run_id,
        model_sha256=run_id * 8,
        holdout_sha256="0" * 64,
        policy_sha256="0" * 64,
        version=version,
        champion_before="2",
        champion_after=version or "2",
        by="anna" if event == "forced" else "gate",
        reasons=("r2 0.71 against at least 0.8",),
        verdict_id=f"{event}{run_id}",
    )


def test_what_was_forced_since_the_run_before_is_told_by_this_one(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [
        ("forced", "first", "1"),  # told by the run that followed
        ("kept", "second", None),
        ("forced", "second", "3"),
        ("rolled_back", "second", "2"),
        ("forced", "second", "4"),
        ("kept", run.run_id, None),
        ("forced", run.run_id, "5"),  # the next run will tell
    ]
    for number, (event, run_id, version) in enumerate(events):
        line = entry(event, run_id, version)
        workspace.ledger("students").append(line.model_copy(update={"verdict_id": str(number)}))
    done(workspace, run, "promote", decision("keep"))
    mails = send(VerdictNotifier(students), workspace, monkeypatch)
    assert [mail.subject for mail in mails] == [
        f"[Noria error] students: PROMOTED BY FORCE past the gate, version {version}: anna" for version in "34"
    ]
    assert "The gate had said: r2 0.71 against at least 0.8" in mails[0].text


@pytest.mark.parametrize("event", ["forced", "promoted"])
def test_a_version_that_was_forced_is_told_in_every_later_mail(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch, event: LedgerEvent
) -> None:
    """The registry, which is slow to ask, is asked for it only where the ledger says that there is one."""
    version = ChampionVersion.model_construct(version="1", forced="anna: the boss wants it")
    monkeypatch.setattr(type(workspace.registry), "history", lambda *_: [version])
    workspace.ledger("students").append(entry(event, "first", "1"))
    done(workspace, run, "promote", decision("promote"))
    mail = send(WaitingNotifier(students), workspace, monkeypatch)[-1]
    assert ("the boss wants it" in mail.text) == (event == "forced")


def test_the_last_word_counts(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(workspace, run, "promote", decision("promote", waiting=True, champion_version="2", registered_version="3"))
    done(workspace, run, "release", decision("promote", approval=answer(approved=True), registered_version="3"))
    (mail,) = send(VerdictNotifier(students), workspace, monkeypatch)
    assert mail.subject == "[Noria] students: new champion, version 3: r2 0.871, before 0.861"
    assert "Approved by anna" in mail.text


def test_a_candidate_that_waits_says_where_to_answer(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(workspace, run, "promote", decision("promote", waiting=True, champion_version="2", registered_version="3"))
    (mail,) = send(WaitingNotifier(students), workspace, monkeypatch)
    assert mail.subject == "[Noria] students: candidate waits for approval: r2 0.871, before 0.861"
    address = "runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00/tasks/approve/required_actions"
    assert f"Approve or decline: {UI}/dags/students__retrain/{address}" in mail.text


def test_a_question_is_put_though_no_mail_can_be_sent(
    workspace: Workspace, run: Run, students: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(workspace, run, "promote", decision("promote", waiting=True))
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": 1, "extra": {"disable_ssl": True}}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    WaitingNotifier(students)({"dag": DAG("students__retrain", schedule=None), "run_id": RUN_ID})


def test_a_rollback(workspace: Workspace, students: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    key = safe_run_id(RUN_ID)
    record = Rollback(
        pipeline="students",
        version="1",
        before="2",
        by="anna",
        reason="wrong since Monday",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        verdict_id="f" * 32,
        run_id="r",
        metrics={"r2": 0.861},
        champion_version="1",
    )
    workspace.lake.create(rollback_path("students", key), to_json(record))
    (mail,) = send(RollbackNotifier(students), workspace, monkeypatch)
    assert mail.subject == "[Noria warning] students: rolled back to version 1 by anna: wrong since Monday"
    assert "The champion before was version 2." in mail.text
    assert "r2      0.861" in mail.text


def test_a_rollback_that_failed(workspace: Workspace, students: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    log = workspace.settings.log_file("students", safe_run_id(RUN_ID), "rollback")
    log.parent.mkdir(parents=True)
    log.write_text("ERROR version 9 never was the champion.\n")
    (mail,) = send(FailedRollbackNotifier(students), workspace, monkeypatch)
    assert mail.subject == "[Noria error] students: the rollback failed: version 9 never was the champion."
    assert "to clear the task completes it" in flowing(mail)
