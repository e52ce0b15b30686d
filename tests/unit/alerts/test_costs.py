"""What a night's mail says of pipelines."""

from __future__ import annotations

from pathlib import Path

from noria.alerts.costs import report_alert
from noria.costs.summary import summarise
from noria.settings import Settings
from noria.workspace import Workspace
from tests.support.charges import DAY, estimate, kept, write


def test_next_to_nothing_has_no_line(tmp_path: Path) -> None:
    workspace = Workspace.open(Settings.from_env({}, home=tmp_path))
    write(workspace, estimate("local", "40", "2.00"), kept("1", "0.0000001", None), kept("1", "0.01", "taxis"))
    rows = report_alert(summarise(workspace, DAY), ()).rows
    assert [row[0] for row in rows] == ["students", "taxis"]
