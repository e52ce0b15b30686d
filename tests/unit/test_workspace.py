import json
import math
import re
from pathlib import Path

import pytest

from noria.errors import InputError, SpecError, StorageError, VerdictError
from noria.jobs.runner import keep_failure
from noria.records import Approval, Decision, Report, Snapshot
from noria.settings import Settings
from noria.workspace import APPROVAL, FORCED, Workspace, run_path, safe_run_id, to_json
from tests.support.runs import decision, done


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(Settings.from_env({}, home=tmp_path))


def test_a_run_is_frozen_when_it_is_created(workspace: Workspace) -> None:
    run = workspace.create_run("students", "r1", overrides={"tuning.trials": "8"}, source="sample://students?rows=50")
    again = workspace.create_run("students", "r1", overrides={"tuning.trials": "9"})
    assert again == run
    assert run.pipeline.tuning.trials == 8
    assert run.pipeline.source.uri == "sample://students?rows=50&seed=7"


def test_a_bad_override_leaves_no_run(workspace: Workspace) -> None:
    with pytest.raises(SpecError, match=r"tuning\.trials: .*got 0"):
        workspace.create_run("students", "r1", overrides={"tuning.trials": "0"})
    assert not list(workspace.lake.list("runs"))


def test_missing_run_and_missing_stage_say_what_to_do(workspace: Workspace) -> None:
    with pytest.raises(StorageError, match="no run 'nope'"):
        workspace.load_run("students", "nope")
    run = workspace.create_run("students", "r1")
    with pytest.raises(StorageError, match="Run 'ingest' first"):
        workspace.require(run, "ingest", Snapshot)


def test_airflow_run_ids_become_path_components() -> None:
    safe = safe_run_id("manual__2026-11-21T05:00:00+00:00/x")
    assert re.fullmatch(r"manual__2026-11-21T05-00-00\+00-00-x-[0-9a-f]{8}", safe)
    assert safe_run_id("20261121T050000Z-abc123") == "20261121T050000Z-abc123"
    assert run_path("students", "r1", "train") == "runs/students/r1/train.json"
    assert run_path("students", "r1", "train/model.skops") == "runs/students/r1/train/model.skops"


def test_no_two_run_ids_become_the_same_path_and_every_one_is_a_run(workspace: Workspace) -> None:
    long = "x" * 250
    ids = ["a:b", "a~b", "a-b", safe_run_id("a:b"), ".", "..", "...", "../x", ".x", long, f"{long}y", "Schülerïn", "/"]
    safe = [safe_run_id(run_id) for run_id in ids]
    assert len(set(safe)) == len(ids)
    for run_id in safe:
        assert not run_id.startswith(".")
        assert workspace.create_run("students", run_id).run_id == run_id


def test_the_first_stage_that_failed_is_the_failure_and_a_record_outweighs_one(workspace: Workspace) -> None:
    run = workspace.create_run("students", "r1")
    for stage in ("report", "validate", "ingest"):
        keep_failure(stage, StorageError(f"{stage} failed"), run, workspace)
    done(workspace, run, "ingest", Report(html="x.html"))
    failure = workspace.failure(run)
    assert failure is not None
    assert failure.stage == "validate"


def test_credentials_come_from_the_task_or_from_the_environment(tmp_path: Path) -> None:
    environ = {
        "AIRFLOW_CONN_GITHUB_DEFAULT": '{"conn_type": "http", "password": "from-json"}',
        "AIRFLOW_CONN_OTHER": "http://user:from%2Furi@host",
    }
    settings = Settings.from_env(environ, home=tmp_path)
    workspace = Workspace.open(settings, {"handed_in": "from-task"})
    assert workspace.credential("github_default") == "from-json"
    assert workspace.credential("other") == "from/uri"
    assert workspace.credential("handed_in") == "from-task"
    assert workspace.credential("absent") is None
    assert "from-" not in repr(workspace)
    assert not any(key.startswith("AIRFLOW_CONN_") for key in settings.child_environment())


def test_a_connection_that_is_not_json_is_named_without_its_text(tmp_path: Path) -> None:
    settings = Settings.from_env({"AIRFLOW_CONN_GITHUB_DEFAULT": '{"password": "s3cret'}, home=tmp_path)
    with pytest.raises(InputError, match="AIRFLOW_CONN_GITHUB_DEFAULT") as caught:
        settings.connection_password("github_default")
    assert "s3cret" not in str(caught.value)


def test_an_unknown_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NORIA_PROFILE='cloud'; expected local or azure"):
        Settings.from_env({"NORIA_PROFILE": "cloud"}, home=tmp_path)


def test_figures_that_are_no_numbers_stand_in_valid_json(workspace: Workspace) -> None:
    run = workspace.create_run("students", "r1")
    metrics = {"r2": math.nan, "mae": math.inf, "rmse": -math.inf, "rae": 1.5}
    done(workspace, run, "promote", decision("reject", candidate_metrics=metrics))
    text = workspace.lake.read(run_path("students", "r1", "promote")).decode()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert workspace.require(run, "promote", Decision).candidate_metrics == pytest.approx(metrics, nan_ok=True)


def test_the_last_word_on_a_candidate(workspace: Workspace) -> None:
    """A person's by force, else that of the stage that follows the approval, else the gate's."""
    run = workspace.create_run("students", "r1")
    assert workspace.decision(run) is None
    for stage, verdict in (("promote", "promote"), ("release", "keep")):
        said = decision(verdict)
        done(workspace, run, stage, said)
        assert workspace.decision(run) == said
    forced = decision("keep", forced="ada: because")
    workspace.lake.create(run_path("students", "r1", FORCED), to_json(forced))
    assert workspace.decision(run) == forced


def test_an_answer_that_was_edited_is_none(workspace: Workspace) -> None:
    run = workspace.create_run("students", "r1")
    assert workspace.approval(run) is None
    said = Approval(
        pipeline="students", run_id="r1", model_sha256="0" * 64, previous_champion=None, approved=False, by="ada",
        reason="no", at=workspace.clock(),
    )  # fmt: skip
    signed = to_json(workspace.keyring.sign(said))
    workspace.lake.replace(run_path("students", "r1", APPROVAL), signed)
    found = workspace.approval(run)
    assert found is not None and found.by == "ada"
    workspace.lake.replace(run_path("students", "r1", APPROVAL), signed.replace(b"false", b"true"))
    with pytest.raises(VerdictError, match="changed afterwards"):
        workspace.approval(run)
