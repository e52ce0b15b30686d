"""Runs that are late: the deadline of a DAG, and the mail that the triggerer sends."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk._shared.module_loading import import_string

from noria.airflow.late import deadline
from noria.costs.budgets import keep_judgement
from noria.mailbox import inbox
from noria.mailbox.sink import MailSink
from noria.pipeline import Pipeline, load_spec
from noria.settings import CHECKOUT, Settings
from noria.workspace import Workspace, safe_run_id
from tests.support.runs import judgement

UI = "http://127.0.0.1:8080"
RUN_ID = "manual__2026-01-01T00:00:00+00:00"


def students(**alerts: object) -> Pipeline:
    pipeline = load_spec(CHECKOUT / "include" / "pipelines" / "students" / "pipeline.yaml")
    return pipeline.model_copy(update={"alerts": pipeline.alerts.model_copy(update=alerts)})


@pytest.mark.parametrize("alerts", [{}, {"deadline_minutes": 5, "emails": ()}])
def test_there_is_a_deadline_only_where_somebody_wants_one(alerts: dict[str, Any]) -> None:
    assert deadline(students(**alerts)) is None


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ("running", "is in ingest"),
        ("running", "waits for people to answer"),
        ("queued", "has not begun"),
        ("failed", "is in ingest"),
    ],
)
def test_a_late_run_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, where: str) -> None:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path))
    monkeypatch.setenv("NORIA_UI_URL", UI)
    late = deadline(students(deadline_minutes=90))
    assert late is not None
    assert late.interval == timedelta(minutes=90)
    if state != "queued":
        workspace = Workspace.open(Settings.from_env())
        begun = workspace.create_run("students", safe_run_id(RUN_ID))
        if where.startswith("waits"):
            keep_judgement(judgement("approve"), begun, workspace)
    run = {"dag_id": "students__retrain", "dag_run_id": RUN_ID, "state": state, "queued_at": "2026-01-01T00:00:00Z"}
    arguments = json.loads(json.dumps(late.callback.kwargs))  # as the triggerer gets them
    call = import_string(late.callback.path)
    with MailSink(inbox.folder(tmp_path)) as sink:
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": sink.port, "extra": {"disable_ssl": True}}
        connection["extra"]["disable_tls"] = True
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
        for _ in range(2):
            asyncio.run(call(**arguments, context={"dag_run": run}))
    mails = inbox.read(tmp_path)
    if state == "failed":
        assert mails == [], "its failure has been told"
        return
    (mail,) = mails
    assert mail.subject == f"[Noria warning] students: the run is late: after 90 minutes it {where}"
    links = {"is in ingest": "Log of ingest", "waits for people to answer": "Approve or decline"}
    said = [label for label in links.values() if f"{label}: {UI}/dags/students__retrain/runs/" in mail.text]
    assert said == ([links[where]] if where in links else [])
