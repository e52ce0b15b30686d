"""What a run has used and cost, told by its page and by the terminal."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from noria.costs.of_run import run_use
from noria.costs.usage import keep_usage
from noria.lake.disk import DiskLake
from noria.records import JobUsage, Run, Usage
from noria.settings import Settings
from noria.workspace import Workspace

SHEET = """
currency: EUR
machines:
  local: { per_vcpu_hour: 0.36, source: a test, date: 2026-11-01 }
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "costs.yaml").write_text(SHEET)
    settings = Settings.from_env({"NORIA_COSTS": str(tmp_path / "costs.yaml")}, home=tmp_path / "home")
    return Workspace.open(settings)


def job(
    run: Run, workspace: Workspace, stage: str, *, machine: str = "local", outcome: str = "done", day: int = 0
) -> None:
    """Leave an attempt that held two vCPUs for 50 s and used 60 s of them."""
    began = run.created_at + timedelta(days=day)
    usage = Usage(wall_seconds=50, cpu_seconds=60, peak_rss_bytes=1, vcpu_seconds=100, machine=machine)
    ended = began + timedelta(seconds=50)
    facts = {"pipeline": run.pipeline.name, "run_id": run.run_id, "stage": stage, "outcome": outcome}
    keep_usage(
        JobUsage.model_validate({**facts, "started_at": began, "finished_at": ended, "usage": usage}), workspace.lake
    )


def test_all_attempts_of_a_run_are_priced_and_no_other_runs(workspace: Workspace) -> None:
    run, other = (workspace.create_run("students") for _ in range(2))
    job(run, workspace, "ingest", outcome="killed")
    job(run, workspace, "train", day=1)  # after midnight
    job(other, workspace, "ingest")
    use = run_use(run, replace(workspace, clock=lambda: run.created_at + timedelta(days=1)))
    assert use is not None
    assert (use.jobs, use.cost) == (2, Decimal("0.02"))
    assert use.words == "about 0.020 EUR by the price sheet; 200 vCPU-seconds held, 120 of them used"


def test_a_run_of_long_ago_is_found_in_one_list(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = (workspace.create_run("students") for _ in range(2))
    for day in (0, 3):
        job(run, workspace, "train", day=day)
    job(other, workspace, "train")
    workspace.lake.create(f"metering/stray/students/{run.run_id}/x.json", b"{}")
    listed: list[str] = []
    sizes = DiskLake.sizes
    monkeypatch.setattr(DiskLake, "sizes", lambda lake, folder: listed.append(folder) or sizes(lake, folder))
    use = run_use(run, replace(workspace, clock=lambda: run.created_at + timedelta(days=365)))
    assert use is not None
    assert (use.jobs, listed) == (2, ["metering"])


def test_what_has_no_price_is_said(workspace: Workspace) -> None:
    run = workspace.create_run("students")
    job(run, workspace, "train", machine="azureml/Big")
    use = run_use(run, workspace)
    assert use is not None
    assert (use.cost, use.price) == (None, None)
    assert use.words.startswith("no price for azureml/Big in the price sheet; 100 vCPU-seconds")
    job(run, workspace, "ingest")
    use = run_use(run, workspace)
    assert use is not None
    assert use.words.startswith("about 0.010 EUR by the price sheet; no price for azureml/Big")


def test_without_a_price_sheet_or_a_metered_job_nothing_is_told(workspace: Workspace) -> None:
    run = workspace.create_run("students")
    assert run_use(run, workspace) is None
    job(run, workspace, "ingest")
    assert run_use(run, workspace) is not None
    workspace.settings.costs_file.write_text("currency: euros")
    assert run_use(run, workspace) is None
