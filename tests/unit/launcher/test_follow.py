"""What a person reads while a run goes on, told from what Airflow's API answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from noria.launcher import follow as module
from noria.launcher.api import ApiUnavailableError
from noria.launcher.follow import Outcome, follow

RUN_ID = "manual__2026-01-01T00:00:00+00:00"
BEGUN, ENDED = "2026-01-01T00:00:00Z", "2026-01-01T00:00:04Z"


def task(task_id: str, state: str, **changes: Any) -> dict[str, Any]:
    place = {"dag_id": "students__retrain", "dag_run_id": RUN_ID, "task_id": task_id}
    return {**place, "state": state, "try_number": 1, "start_date": BEGUN, "end_date": ENDED, **changes}


class Api:
    """Answers each poll with the next moment of a run: its state and its tasks; none is a busy server."""

    url = "http://127.0.0.1:8080"

    def __init__(self, *moments: tuple[str, list[dict[str, Any]]] | None) -> None:
        self._moments: Iterator[tuple[str, list[dict[str, Any]]] | None] = iter(moments)

    def run(self, _dag_id: str, _run_id: str) -> dict[str, Any]:
        moment = next(self._moments)
        if moment is None:
            raise ApiUnavailableError("busy")
        state, self._tasks = moment
        return {"state": state, "start_date": BEGUN, "end_date": ENDED if state in ("success", "failed") else None}

    def tasks(self, _dag_id: str, _run_id: str) -> list[dict[str, Any]]:
        return self._tasks

    def unfinished_runs(self, _dag_id: str) -> list[dict[str, Any]]:
        return [{"dag_run_id": "the one before", "state": "running"}]


def told(api: Api, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Outcome]:
    monkeypatch.setattr(module, "POLL_SECONDS", 0)
    lines: list[str] = []
    outcome = follow(api, "students__retrain", RUN_ID, check=lambda: None, tell=lines.append)  # type: ignore[arg-type]
    return lines, outcome


def test_each_change_of_a_task_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(
        ("queued", []),
        ("running", [task("ingest", "running")]),
        None,
        ("running", [task("ingest", "up_for_retry")]),
        ("running", [task("ingest", "running", try_number=2)]),
        ("success", [task("ingest", "success", try_number=2), task("approve", "skipped", start_date=None)]),
    )
    lines, outcome = told(api, monkeypatch)
    assert lines == [
        "waiting for the one before, which runs now; runs of one pipeline do not overlap",
        "▸ ingest     running",
        "↻ ingest       4.0 s  up for retry",
        "▸ ingest     running (try 2)",
        "✓ ingest       4.0 s",
        "- approve             skipped",
    ]
    assert (outcome.seconds, outcome.succeeded) == (4.0, True)


def test_a_task_that_asks_people_says_where_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(("running", [task("approve", "awaiting_input")]), ("success", [task("approve", "success")]))
    lines, _outcome = told(api, monkeypatch)
    place = "dags/students__retrain/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00/tasks/approve/required_actions"
    assert lines[0] == f"? approve    waits for a person's answer: http://127.0.0.1:8080/{place}"


def test_a_report_that_failed_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    _lines, outcome = told(Api(("success", [task("report", "failed")])), monkeypatch)
    assert outcome.failed_tasks == ["report"]
    assert not outcome.succeeded
