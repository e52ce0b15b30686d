"""Every stage killed by SIGKILL at work, then run again: one snapshot, one version, one of each record."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from noria.compute.process import JobProcess
from noria.errors import JobError
from noria.records import Decision, Run, stages_of
from noria.settings import Settings
from noria.workspace import Workspace
from tests.support.reference import reference

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_killed_stage_ends_well_at_the_next_try(tmp_path: Path) -> None:
    settings = Settings.from_env({"PATH": os.environ["PATH"]}, home=tmp_path)
    workspace = Workspace.open(settings)
    search = {"tuning.trials": "1", "tuning.folds": "2", "tuning.workers": "1"}
    small = {"estimators": '[{"kind": "ridge"}]', **search, "evaluation.seeds": "2"}
    file = reference("students_performance_kaggle.csv")
    run = workspace.create_run("students", "killed", overrides=small, source=file.as_uri())
    for stage in stages_of(run.pipeline):
        _kill_at_work(stage, run, settings)
        assert workspace.stage_run(run, stage) is None, f"{stage} was killed and cannot have a record"
        JobProcess(stage, run, settings).run()
    for layer in ("raw", "typed"):
        manifests = [path for path in workspace.lake.list(layer) if path.endswith("manifest.json")]
        assert len(manifests) == 1, manifests
    decision = workspace.require(run, "promote", Decision)
    assert (decision.verdict, decision.champion_version) == ("promote", "1")
    assert [v.version for v in workspace.registry.history("students")] == ["1"]
    assert [entry.event for entry in workspace.ledger("students").entries()] == ["promoted"]
    assert workspace.registry.audit("students") == []
    assert workspace.failure(run) is None


def _kill_at_work(stage: str, run: Run, settings: Settings) -> None:
    """Start the stage and kill it, alone, at the first line that it logs."""
    before = {p.pid for p in psutil.Process().children()}
    killed = threading.Event()

    def kill(_line: str) -> None:
        if not killed.is_set():
            killed.set()
            (job,) = [p for p in psutil.Process().children() if p.pid not in before]
            os.kill(job.pid, signal.SIGKILL)

    with pytest.raises(JobError, match="signal 9"):
        JobProcess(stage, run, settings, on_line=kill).run()
    assert killed.is_set()
