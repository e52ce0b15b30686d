"""Ctrl-C while a job of the run is elsewhere."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from noria.airflow.defaults import JOB_TOLD_TO_END
from noria.cli import up
from noria.launcher.api import ApiUnavailableError
from noria.settings import Settings
from tests.support.pipelines import students


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
