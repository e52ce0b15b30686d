"""The validate stage on a real snapshot, by the real Great Expectations."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from noria.errors import DataInvalidError
from noria.records import Run, ValidationReport
from noria.settings import Settings
from noria.stages.ingest import ingest
from noria.stages.report import report
from noria.stages.validate import VALIDATION_FILE, validate
from noria.workspace import Workspace, run_path, to_json
from tests.support.pipelines import expecting
from tests.support.runs import done, failed

MEAN = "expect_column_mean_to_be_between"
IMPOSSIBLE = {"expect": MEAN, "args": {"column": "math_score", "min_value": 99}}


def _begin(home: Path, *expectations: dict[str, Any]) -> tuple[Run, Workspace]:
    """A run whose ingest has ended."""
    workspace = Workspace.open(Settings.from_env({"NORIA_HOME": str(home)}))
    run = workspace.create_run("students", "r1")
    run = run.model_copy(update={"pipeline": expecting(*expectations)})
    workspace.lake.replace(run_path("students", "r1", "run"), to_json(run))
    done(workspace, run, "ingest", ingest(run, workspace))
    return run, workspace


def test_good_data_is_valid_and_its_docs_are_kept(tmp_path: Path) -> None:
    run, workspace = _begin(tmp_path, {"expect": MEAN, "args": {"column": "math_score", "min_value": 40}})
    found = validate(run, workspace)
    assert found.success
    docs = workspace.lake.read(found.docs).decode()
    assert "The data is valid" in docs
    own = json.loads(workspace.lake.read(run_path("students", "r1", "validate/great_expectations.json")))
    assert own["success"] is True
    assert len(own["results"]) == len(found.results)


def test_a_failed_warning_does_not_stop_the_run(tmp_path: Path) -> None:
    run, workspace = _begin(tmp_path, {**IMPOSSIBLE, "severity": "warning"})
    found = validate(run, workspace)
    assert found.success
    assert not found.results[-1].success


def test_a_failed_critical_expectation_stops_the_run_and_is_kept(tmp_path: Path) -> None:
    run, workspace = _begin(tmp_path, IMPOSSIBLE)
    with pytest.raises(DataInvalidError) as caught:
        validate(run, workspace)
    assert caught.value.exit_code == 4
    assert not caught.value.retryable
    message = str(caught.value)
    assert f"1 critical expectation failed: {MEAN}: observed 66.2" in message
    assert "greater than or equal to 99" in message
    assert "data_docs.html" in message
    seen = ValidationReport.model_validate_json(workspace.lake.read(run_path("students", "r1", VALIDATION_FILE)))
    assert not seen.success
    assert "The data is not valid" in workspace.lake.read(seen.docs).decode()

    failed(workspace, run, "validate", message, exit_code=4)
    page = workspace.lake.read(report(run, workspace).html).decode()
    assert "Stopped at validate" in page
    assert "greater than or equal to 99" in page
    link = re.search(r'href="(\.\./validate/[^"]+)"', page)
    assert link
    here = Path(workspace.lake.url(run_path("students", "r1", "report/report.html")))
    assert (here.parent / link.group(1)).resolve() == Path(workspace.lake.url(seen.docs)).resolve()
