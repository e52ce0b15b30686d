"""The result of `noria run`."""

import json
import math
from pathlib import Path

from noria.cli.run import _result
from noria.settings import Settings
from noria.workspace import Workspace
from tests.support.runs import candidate, decision, done


def test_a_metric_that_is_not_defined_is_null(tmp_path: Path) -> None:
    workspace = Workspace.open(Settings.from_env({}, home=tmp_path))
    run = workspace.create_run("students", "r1")
    metrics = {"r2": math.nan, "mae": 4.0}
    baselines = {"dummy": {"r2": math.nan, "mae": math.inf}}
    done(workspace, run, "train", candidate(run).model_copy(update={"metrics": metrics, "baselines": baselines}))
    done(workspace, run, "promote", decision("reject", candidate_metrics=metrics))
    said = json.loads(json.dumps(_result(run, workspace, 1.0, None), allow_nan=False))
    assert said["metrics"] == {"r2": None, "mae": 4.0}
    assert said["baselines"] == {"dummy": {"r2": None, "mae": None}}
