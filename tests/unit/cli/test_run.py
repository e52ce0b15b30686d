"""The result of `noria run`."""

import json
import math
from pathlib import Path

import pytest

from noria.cli.run import _credentials, _result, _stage
from noria.costs.usage import usage_of
from noria.records import STAGES
from noria.settings import Settings
from noria.verdicts import CONNECTION, SIGNING_STAGES
from noria.workspace import Workspace
from tests.support.busy import busy_until
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


@pytest.mark.parametrize("stage", STAGES)
def test_only_who_signs_or_verifies_is_given_the_key(stage: str, tmp_path: Path) -> None:
    given = {
        "AIRFLOW_CONN_NORIA_VERDICTS": json.dumps({"conn_type": "generic", "password": "k" * 40}),
        "AIRFLOW_CONN_GITHUB_DEFAULT": json.dumps({"conn_type": "http", "password": "token"}),
        "AIRFLOW_CONN_ADLS_DEFAULT": json.dumps({"conn_type": "adls"}),
    }
    settings = Settings.from_env(given, home=tmp_path)
    run = Workspace.open(settings).create_run("students", "r1", source="github://o/r/a.csv")
    credentials = _credentials(stage, run, settings)
    assert credentials.pop(CONNECTION, None) == ("k" * 40 if stage in SIGNING_STAGES else None)
    assert set(credentials) == {"github_default", "adls_default"}
    assert not any(k.startswith("AIRFLOW_CONN") for k in settings.child_environment())


def test_a_candidate_that_waits_is_told_and_the_last_word_counts(tmp_path: Path) -> None:
    workspace = Workspace.open(Settings.from_env({}, home=tmp_path))
    run = workspace.create_run("students", "r1", overrides={"gate.approval": "{}"})
    done(workspace, run, "promote", decision("promote", waiting=True, champion_version="2"))
    said = _result(run, workspace, 1.0, None)
    assert (said["verdict"], said["waiting"], said["champion_version"]) == ("promote", True, "2")
    done(workspace, run, "release", decision("promote"))
    said = _result(run, workspace, 1.0, None)
    assert (said["waiting"], said["champion_version"]) == (False, "3")
    assert list(said["stages"]) == ["promote", "release"]


def test_what_a_job_used_until_ctrl_c_is_kept(tmp_path: Path) -> None:
    workspace = Workspace.open(Settings.from_env({}, home=tmp_path / "home"))
    run = workspace.create_run("students", "r1")
    with pytest.raises(KeyboardInterrupt), busy_until(KeyboardInterrupt, tmp_path):
        _stage("ingest", run, workspace, lambda _line: None)
    assert [job.outcome for _path, job in usage_of(workspace.clock().date(), workspace.lake)] == ["killed"]
