"""A folder that `noria new` wrote runs as it is, awkward names included."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from noria.cli import main
from noria.compute.process import JobProcess
from noria.records import Profile, Snapshot, ValidationReport
from noria.settings import Settings
from noria.workspace import Workspace

pytestmark = pytest.mark.slow


def test_a_new_pipeline_is_ingested_validated_and_explored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "orders.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(["Order No.", "select", "Größe (cm)", 'it\'s "paid"', "day"])
        for i in range(120):
            size = "" if i % 9 == 0 else i % 31 + 0.5
            paid = ["it's paid", 'say \\ "no"'][i % 3 == 0]
            writer.writerow([i, ["a: b", "order", "#c"][i % 3], size, paid, f"2026-01-{i % 28 + 1:02}"])
    monkeypatch.setenv("NORIA_PIPELINES", str(tmp_path / "pipelines"))
    monkeypatch.setenv("NORIA_HOME", str(tmp_path / "home"))
    assert main(["new", "orders", "--from", str(file), "--target", 'it\'s "paid"']) == 0
    workspace = Workspace.open(Settings.from_env())
    run = workspace.create_run("orders", "r1")
    for stage in ("ingest", "validate", "explore"):
        JobProcess(stage, run, workspace.settings).run()
    snapshot = workspace.require(run, "ingest", Snapshot)
    assert (snapshot.rows, snapshot.quarantined_rows) == (120, 0)
    report = workspace.require(run, "validate", ValidationReport)
    assert report.success
    assert [r.expectation for r in report.results if not r.success] == []
    assert len(report.results) >= len(run.pipeline.expectations) > 3
    answers = {a.title: a.value for a in workspace.require(run, "explore", Profile).answers}
    assert answers["Number of rows"] == 120
    assert answers["Share of it_s_paid = it's paid"] == pytest.approx(2 / 3)
    assert answers['Share of it_s_paid = say \\ "no"'] == pytest.approx(1 / 3)
    assert answers["Rows without grosse_cm"] == 14
