"""Every DAG loads, and keeps the rules that all DAGs keep. The messages say how to mend one that does not."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization

from noria.airflow.defaults import Tag
from tests.support.airflow import CHECKOUT

STUDENTS = CHECKOUT / "include" / "pipelines" / "students" / "pipeline.yaml"


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(CHECKOUT / "dags")


@pytest.fixture(scope="module")
def retrain(bag: DagBag):
    return bag.dags["students__retrain"]


def test_every_file_loads(bag: DagBag) -> None:
    assert bag.import_errors == {}, "a DAG file or a pipeline folder does not load; mend what the message names"
    assert "students__retrain" in bag.dags


def test_every_dag_keeps_the_rules(bag: DagBag) -> None:
    for dag in bag.dags.values():
        who = f"DAG {dag.dag_id} in {dag.fileloc}"
        assert dag.doc_md, f"{who}: give it doc_md; somebody reads it at night"
        assert "Owner" in dag.doc_md, f"{who}: its doc_md names no owner"
        assert Tag.NORIA in dag.tags, f"{who}: take its tags from noria.airflow.defaults.Tag"
        assert dag.catchup is False, f"{who}: set catchup=False; a missed day is not made up for"
        assert dag.max_active_runs == 1, f"{who}: set max_active_runs=1; runs of one pipeline must not overlap"
        assert dag.on_failure_callback, f"{who}: set on_failure_callback; a killed task calls nobody"
        for task in dag.tasks:
            assert task.owner not in ("", "airflow"), (
                f"{who}, task {task.task_id}: take default_args from task_defaults"
            )
            assert task.retries > 0, f"{who}, task {task.task_id}: set retries; a source may be away for a moment"
            assert task.retry_exponential_backoff, f"{who}, task {task.task_id}: set retry_exponential_backoff"
            assert task.execution_timeout, f"{who}, task {task.task_id}: set execution_timeout"
            assert task.execution_timeout > timedelta(minutes=5)


def test_every_dag_can_be_stored(bag: DagBag) -> None:
    for dag in bag.dags.values():
        assert DagSerialization.from_dict(DagSerialization.to_dict(dag)).task_ids == dag.task_ids


def test_stages_follow_one_another_and_the_report_is_a_teardown(retrain) -> None:
    order = [task.task_id for task in retrain.topological_sort()]
    assert order == ["ingest", "validate", "explore", "train", "promote", "report"]
    assert [t.task_id for t in retrain.tasks if t.is_teardown] == ["report"]
    assert not retrain.get_task("report").on_failure_fail_dagrun, "a failed run would be a success with a report"


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The DAG of a pipeline that asks people."""
    policy = "gate:\n  approval: { timeout_hours: 36, approvers: [anna, berta] }\n"
    _pipeline(tmp_path / "pupils", "gate:", policy)
    monkeypatch.setenv("NORIA_PIPELINES", str(tmp_path))
    return DagBag(CHECKOUT / "dags").dags["pupils__retrain"]


def test_people_are_asked_before_the_release_where_the_policy_says_so(asking) -> None:
    order = [task.task_id for task in asking.topological_sort()]
    assert order == ["ingest", "validate", "explore", "train", "promote", "approve", "release", "report"]
    assert [t.task_id for t in asking.tasks if t.is_teardown] == ["report"]
    approve = asking.get_task("approve")
    assert approve.response_timeout == timedelta(hours=36)
    assert approve.defaults == ["Reject"], "no answer is a no"
    assert approve.assigned_users == [{"id": name, "name": name} for name in ("anna", "berta")]
    assert approve.params.validate() == {"reason": None}, "Airflow validates them before anybody is asked"
    assert [asset.uri for asset in asking.get_task("release").outlets] == ["noria://models/pupils"]
    assert "anna, berta" in asking.doc_md
    assert "36 hours" in asking.doc_md


def test_every_pipeline_can_be_rolled_back_by_a_form_with_a_reason(bag: DagBag) -> None:
    dag = bag.dags["students__rollback"]
    assert dag.schedule is None
    assert [task.task_id for task in dag.tasks] == ["rollback"]
    assert [asset.uri for asset in dag.get_task("rollback").outlets] == ["noria://models/students"]
    version, reason = dag.params.get_param("version"), dag.params.get_param("reason")
    assert version.resolve() is None, "empty is the champion before"
    assert reason.schema["minLength"] > 0
    assert version.description
    assert reason.description
    with pytest.raises(ParamValidationError):
        reason.resolve()


def test_stages_are_in_groups(retrain) -> None:
    groups = retrain.task_group.get_task_group_dict()
    assert set(groups["data"].children) == {"ingest", "validate", "explore"}
    assert set(groups["model"].children) == {"train", "promote"}


def test_schedule_owner_and_form_come_from_the_spec(retrain) -> None:
    assert retrain.schedule == "0 5 * * *"
    assert retrain.owner == "data-science"
    assert retrain.params.dump() == {
        "training_share": 0.7,
        "trials": 24,
        "seed": 42,
        "source": "sample://students?rows=1000&seed=7",
        "dry_run": False,
        "overrides": {},
    }
    assert all(retrain.params.get_param(name).description for name in retrain.params)


def test_assets_are_produced_by_ingest_and_promote(retrain) -> None:
    outlets = {task.task_id: [asset.uri for asset in task.outlets] for task in retrain.tasks if task.outlets}
    assert outlets == {"ingest": ["noria://snapshots/students"], "promote": ["noria://models/students"]}


def test_costs_are_told_every_night_whatever_azure_does(bag: DagBag) -> None:
    dag = bag.dags["export_costs"]
    assert dag.schedule == "30 3 * * *"
    order = [task.task_id for task in dag.topological_sort()]
    assert order == ["meter", "export", "ingest", "budgets", "report", "complete"]
    despite = {task.task_id for task in dag.tasks if task.trigger_rule == "all_done"}
    assert despite == {"ingest", "budgets", "report"}, "what failed keeps back no invoice, no warning and no page"
    (leaf,) = dag.leaves
    assert (leaf.task_id, leaf.trigger_rule) == ("complete", "all_success"), "a step that failed makes a red run"
    assert leaf.upstream_task_ids == set(order[:-1])


def test_the_costs_of_named_days_can_be_asked_for_by_a_form(bag: DagBag) -> None:
    params = bag.dags["export_costs"].params
    assert params.dump() == {"since": None, "until": None, "wait": 60}
    assert all(params.get_param(name).description for name in params)
    params["since"] = "2026-11-01"
    for name, wrong in {"since": "yesterday", "until": "2026-13-01", "wait": -1}.items():
        with pytest.raises(ParamValidationError):
            params.get_param(name).resolve(wrong)


def test_a_dag_file_wires_and_does_no_more() -> None:
    for file in (CHECKOUT / "dags").glob("*.py"):
        length = len(file.read_text().splitlines())
        assert length <= 60, f"{file} has {length} lines; move what is not wiring to include/noria"


def test_own_pipelines_and_broken_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pipeline(tmp_path / "pupils")
    _pipeline(tmp_path / "typo", "target: math_score", "traget: math_score")
    _pipeline(tmp_path / "clock", '"0 5 * * *"', '"every morning"')
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("NORIA_PIPELINES", str(tmp_path))

    bag = DagBag(CHECKOUT / "dags")

    assert {"students__retrain", "pupils__retrain"} <= set(bag.dags)
    assert not {"typo__retrain", "clock__retrain", "empty__retrain"} & set(bag.dags)
    (file, message), *others = bag.import_errors.items()
    assert others == []
    assert file.endswith("broken_pipelines.py")
    assert f"{tmp_path}/typo/pipeline.yaml:" in message
    assert "did you mean 'target'?" in message
    assert f"{tmp_path}/clock/pipeline.yaml:" in message
    assert "every morning" in message


def test_folder_that_fails_in_an_unforeseen_way_takes_no_other_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pipeline(tmp_path / "pupils")
    _pipeline(tmp_path / "day", "target: math_score", "target: 2026-99-99")
    _pipeline(tmp_path / "loop")
    (tmp_path / "loop" / "pipeline.yaml").unlink()
    (tmp_path / "loop" / "pipeline.yaml").symlink_to("pipeline.yaml")
    long = "long_" * 50
    _pipeline(tmp_path / long)  # a name that a folder can have and a DAG cannot
    monkeypatch.setenv("NORIA_PIPELINES", str(tmp_path))

    bag = DagBag(CHECKOUT / "dags")

    of_pipelines = {dag_id for dag_id in bag.dags if "__" in dag_id}
    assert of_pipelines == {f"{name}__{kind}" for name in ("students", "pupils") for kind in ("retrain", "rollback")}
    ((file, message),) = bag.import_errors.items()
    assert file.endswith("broken_pipelines.py")
    for name in ("day", long):
        assert f"{tmp_path}/{name}/pipeline.yaml:" in message


def _pipeline(folder: Path, old: str = "", new: str = "") -> None:
    folder.mkdir()
    shutil.copy(STUDENTS, folder)
    text = (folder / "pipeline.yaml").read_text().replace("name: students", f"name: {folder.name}", 1)
    assert old in text
    (folder / "pipeline.yaml").write_text(text.replace(old, new, 1) if old else text)
