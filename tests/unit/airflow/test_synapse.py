"""The operator for Spark batches as a DAG author sees it; tests/azure/test_synapse_operator.py has it at work."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
from airflow.providers.microsoft.azure.hooks.synapse import AzureSynapseHook
from airflow.sdk import DAG

from noria.airflow.synapse import StudioLink, SynapseHook, SynapseSparkBatchOperator
from noria.errors import InputError
from noria.lake import open_lake

EXTRA = {"sparkPool": "small", "subscriptionId": "sub", "resourceGroup": "group"}


class Jobs:
    """Takes what is submitted."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []

    def submit(self, name: str, script: Path, arguments: list[str], **options: Any) -> str:
        self.taken.append({"name": name, "script": script, "arguments": arguments, **options})
        return "7"


def operator(**options: Any) -> SynapseSparkBatchOperator:
    with DAG("sales", schedule=None):
        return SynapseSparkBatchOperator(task_id="totals", script="/jobs/totals.py", retries=2, **options)


def context(task: SynapseSparkBatchOperator, **ti: Any) -> dict[str, Any]:
    facts = {
        "dag_id": "sales",
        "task_id": "totals",
        "run_id": "manual__1",
        "map_index": -1,
        "max_tries": 2,
        "task": task,
    }
    return {"ti": SimpleNamespace(**facts | ti)}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path))
    monkeypatch.setenv("NORIA_LAKE_URL", str(tmp_path / "lake"))


def submitted(task: SynapseSparkBatchOperator, **ti: Any) -> dict[str, Any]:
    jobs = Jobs()
    assert task.submit(jobs, context(task, **ti)) == "7"  # type: ignore[arg-type]
    return jobs.taken[0]


def test_a_batch_carries_what_the_author_said(tmp_path: Path) -> None:
    task = operator(arguments=["--day", 1], tags={"team": "sales"}, configuration={"spark.sql.ansi.enabled": "true"})
    taken = submitted(task)
    assert re.fullmatch(r"sales-totals-manual__1-[0-9a-f]{8}", taken.pop("name"))
    assert taken.pop("lake").root == open_lake(str(tmp_path / "lake")).root
    assert taken == {
        "script": Path("/jobs/totals.py"),
        "arguments": ["--day", "1"],
        "tags": {"airflow:dag": "sales", "airflow:task": "totals", "airflow:run": "manual__1", "team": "sales"},
        "configuration": {"spark.sql.ansi.enabled": "true"},
    }


def test_all_tries_have_one_name_and_a_cleared_task_has_another() -> None:
    task = operator()
    names = [submitted(task, max_tries=tries, try_number=n)["name"] for tries, n in [(2, 1), (2, 3), (3, 2), (3, 4)]]
    assert names[0] == names[1]
    assert names[2] == names[3]
    assert names[0] != names[2]


def test_mapped_tasks_and_runs_have_names_of_their_own() -> None:
    task = operator()
    odd = "scheduled__2026-01-01T00:00:00+00:00"
    names = {submitted(task, **ti)["name"] for ti in ({}, {"map_index": 0}, {"map_index": 1}, {"run_id": odd})}
    assert len(names) == 4
    assert all(":" not in name for name in names)


def test_a_name_of_ones_own_is_what_it_begins_with_and_a_cleared_task_has_another() -> None:
    task = operator(name="nightly")
    first, again, cleared = (submitted(task, max_tries=tries)["name"] for tries in (2, 2, 3))
    assert first == again
    assert re.fullmatch(r"nightly-[0-9a-f]{8}", first)
    assert re.fullmatch(r"nightly-cleared-1-[0-9a-f]{8}", cleared)


def test_another_script_or_other_arguments_make_another_batch(tmp_path: Path) -> None:
    script = tmp_path / "totals.py"
    names = []
    for code, arguments in (("a", []), ("a", []), ("b", []), ("b", ["1"]), ("b", ["2"])):
        script.write_text(code)
        task = operator(arguments=arguments, name="nightly")
        task.script = str(script)
        names.append(submitted(task)["name"])
    assert names[0] == names[1]
    assert len(set(names)) == 4


def test_script_arguments_name_and_tags_are_templates() -> None:
    task = operator(arguments=["--day", "{{ ds }}"], name="totals-{{ ds }}", tags={"day": "{{ ds }}"})
    task.render_template_fields({"ds": "2026-01-02"}, jinja2.Environment())  # type: ignore[arg-type]
    assert (task.arguments, task.name, task.tags) == (
        ["--day", "2026-01-02"],
        "totals-2026-01-02",
        {"day": "2026-01-02"},
    )


def test_the_batch_can_be_seen_in_synapse_studio() -> None:
    task = operator()
    task.job_link = "https://web.azuresynapse.net/x"
    assert StudioLink().name == "Synapse Studio"
    assert task.operator_extra_links[0].get_link(task, ti_key=None) == "https://web.azuresynapse.net/x"


def test_the_hook_reads_the_connection_of_the_azure_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SynapseHook.conn_type == AzureSynapseHook.conn_type
    assert SynapseHook.default_conn_name == AzureSynapseHook.default_conn_name
    text = {"conn_type": "azure_synapse", "host": "https://ws.dev.azuresynapse.net", "extra": EXTRA}
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_SYNAPSE_DEFAULT", json.dumps(text))
    jobs = SynapseHook().get_conn()
    jobs._seen["7"] = SimpleNamespace(name="totals")  # type: ignore[assignment]
    assert "workspaces%2Fws&livyId=7&sparkPoolName=small" in jobs.link("7")


def test_without_a_connection_the_hook_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_ELSEWHERE", raising=False)
    with pytest.raises(InputError, match="no connection elsewhere"):
        SynapseHook("elsewhere").get_conn()


def test_a_dag_file_that_imports_the_operator_stays_light() -> None:
    heavy = "('azure.core', 'adlfs', 'pyspark', 'pandas')"
    code = f"import sys, noria.airflow.synapse; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
