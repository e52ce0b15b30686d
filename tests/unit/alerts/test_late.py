"""Whom a late run waits for: a job, or people."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from noria.alerts.late import asks_people, late_alert
from noria.costs.budgets import keep_judgement
from noria.pipeline import ApprovalPolicy
from noria.records import stages_of
from noria.settings import Settings
from noria.workspace import APPROVAL, Workspace, run_path
from tests.support.runs import decision, done, judgement


@pytest.mark.parametrize("where", ["budget", "release"])
def test_a_late_run_that_waits_for_an_answer_is_in_no_stage(tmp_path: Path, where: str) -> None:
    workspace = Workspace.open(Settings.from_env({}, home=tmp_path))
    run = workspace.create_run("students", "r1")
    if where == "budget":
        keep_judgement(judgement("approve"), run, workspace)
    else:
        gate = run.pipeline.gate.model_copy(update={"approval": ApprovalPolicy()})
        run = run.model_copy(update={"pipeline": run.pipeline.model_copy(update={"gate": gate})})
        for stage in stages_of(run.pipeline)[:-2]:
            done(workspace, run, stage, decision("promote", waiting=True))
    assert asks_people(run, workspace) == where
    queued = datetime(2026, 3, 2, 12, tzinfo=UTC)
    alert = late_alert("students", "r1", workspace, run=run, minutes=90, begun=queued, links=[])
    assert alert.happened == "the run is late: after 90 minutes it waits for people to answer"
    assert (alert.log_stage, alert.log) == ("", ())
    if where == "budget":
        keep_judgement(judgement("approve", by="anna"), run, workspace)
    else:
        workspace.lake.create(run_path("students", "r1", APPROVAL), b"{}")
    assert asks_people(run, workspace) == ""
