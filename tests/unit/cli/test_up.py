"""How `--once` ends, and Ctrl-C while a job of the run is elsewhere; the real Airflow is in tests/integration."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from noria.airflow.defaults import JOB_TOLD_TO_END, MAIL_LOG
from noria.cli import main, up
from noria.launcher.api import ApiUnavailableError
from noria.launcher.follow import Outcome
from noria.mailbox import inbox
from noria.settings import Settings
from tests.support.pipelines import students
from tests.support.runs import failed


class Api:
    """Airflow's API with one task that sleeps."""

    def __init__(self, *, away: bool = False, log: str = "") -> None:
        self.away, self.log = away, log
        self.failed: list[str] = []

    def tasks(self, _dag_id: str, _run_id: str) -> list[dict[str, Any]]:
        if self.away:
            raise ApiUnavailableError("Airflow did not answer")
        return [{"task_id": "ingest", "state": "success"}, {"task_id": "train", "state": "deferred"}]

    def fail_run(self, _dag_id: str, run_id: str, _note: str) -> None:
        self.failed.append(run_id)

    def task_log(self, task: dict[str, Any]) -> str:
        assert task["task_id"] == "train" and self.failed
        return self.log

    def task_links(self, _task: dict[str, Any]) -> dict[str, str]:
        return {"Remote job": "https://ml.azure.com/runs/7"}


@pytest.fixture
def end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(up, "ELSEWHERE_SECONDS", 0.6)

    def end(api: Api) -> str:
        told = io.StringIO()
        session: Any = up._Session(Settings.from_env(home=tmp_path), students(), Console(file=told, soft_wrap=True))
        session._run_id = "r1"
        session._end_run(type("Stack", (), {"api": api}))
        assert api.failed == ["r1"]
        return told.getvalue()

    return end


def test_the_run_is_ended_though_nobody_knows_its_tasks(end: Any) -> None:
    assert end(Api(away=True)) == ""


def test_a_job_that_was_ended_is_not_waited_for_any_longer(end: Any) -> None:
    told = end(Api(log=f"job 7 {JOB_TOLD_TO_END}"))
    assert "ending the job of train" in told and "https://" not in told


def test_a_job_that_was_not_seen_to_end_is_named(end: Any) -> None:
    assert "not seen to end" in (told := end(Api())) and "https://ml.azure.com/runs/7" in told


class Stack:
    """Airflow that is up at once."""

    url, user, password, api = "http://127.0.0.1:8080", "admin", "a password", Api()

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def check(self) -> None:
        pass


def test_ctrl_c_while_the_run_is_followed_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> Outcome:
        raise KeyboardInterrupt

    api = Api(log=JOB_TOLD_TO_END)
    monkeypatch.setattr(Stack, "api", api)
    monkeypatch.setattr(up, "Stack", Stack)
    monkeypatch.setattr(up._Session, "_wait_for_dag", lambda *_: None)
    monkeypatch.setattr(up._Session, "_begin", lambda *_: "r1")
    monkeypatch.setattr(up, "follow", interrupted)
    assert main(["up", "students", "--home", str(tmp_path)]) == 1
    assert api.failed == ["r1"]
    assert "Airflow is stopped" in capsys.readouterr().out


@pytest.mark.parametrize("told_after", [0.3, None], ids=["told late", "never told"])
def test_once_ends_by_itself_with_the_exit_code_of_the_stage_that_failed_once_its_end_was_told(
    told_after: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the callback of this run alone: what came by mail on the way, as of a late run, is not its end."""
    told: list[float] = []

    def retrain(session: Any, _stack: Stack, _conf: dict[str, Any]) -> Outcome:
        run = session._workspace.create_run("students", "r1")
        failed(session._workspace, run, "ingest", "no file missing.csv", exit_code=2)
        session._run_id, session.outcome = "r1", Outcome("failed", 1.0, ["ingest"])
        mails = inbox.folder(tmp_path)
        mails.mkdir(parents=True)
        (mails / "1.eml").write_text("Subject: late run\n\nstill running\n")
        if told_after is not None:
            threading.Timer(told_after, tell).start()
        return session.outcome

    def tell() -> None:
        told.append(time.monotonic())
        Settings.from_env(home=tmp_path).log_file("students", "r1", MAIL_LOG).touch()

    monkeypatch.setattr(up, "MAIL_SECONDS", 5 if told_after else 0.3)
    monkeypatch.setattr(up, "Stack", Stack)
    monkeypatch.setattr(up._Session, "retrain", retrain)
    assert main(["up", "students", "--once", "--home", str(tmp_path)]) == 2
    said = capsys.readouterr().out
    assert len(told) == (told_after is not None), "Airflow was stopped before"
    assert ("did not tell the end of the run" in said) == (told_after is None)
    assert "ingest failed" in said and "no file missing.csv" in said and "late run" in said
