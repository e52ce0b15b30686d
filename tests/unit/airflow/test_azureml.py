"""What the operators for Azure ML call their jobs; tests/azure/test_azureml_operators.py has them at work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from noria.airflow.azureml import AzureMLJobOperator, AzureMLParallelOperator, AzureMLSweepOperator
from noria.settings import Settings
from noria.workspace import Workspace

RUN = "manual__1"
Submitted = Callable[..., tuple[str, Any]]


class Jobs:
    """Takes what is submitted."""

    def submit_partitions(self, what: Any, *_: Any, name: str, **__: Any) -> str:
        self.taken = (name, what)
        return name

    submit_search = submit_partitions


@pytest.fixture
def submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submitted:
    """The job's name and what it was told to do."""
    monkeypatch.setenv("NORIA_HOME", str(tmp_path))
    monkeypatch.setenv("NORIA_LAKE_URL", str(tmp_path / "lake"))
    Workspace.open(Settings.from_env()).create_run("students", RUN)

    def submit(kind: type[AzureMLJobOperator], map_index: int = -1, **options: Any) -> tuple[str, Any]:
        task = kind(**{"task_id": "t", "pipeline": "students", "run_id": RUN} | options)
        jobs, context = Jobs(), {"ti": SimpleNamespace(map_index=map_index)}
        task.submit(jobs, context)  # type: ignore[arg-type]
        if kind is AzureMLParallelOperator:
            assert task.finish(None, context).endswith(f"partitions/{jobs.taken[1].key}")  # type: ignore[arg-type]
        return jobs.taken

    return submit


@pytest.mark.parametrize(
    ("kind", "others"),
    [
        (AzureMLParallelOperator, [{}, {"folder": "b"}, {"batch": 2}, {"task_id": "u"}, {"map_index": 1}]),
        (AzureMLSweepOperator, [{}, {"trials": 2}, {"stopping": "median"}, {"task_id": "u"}, {"map_index": 1}]),
    ],
)
def test_what_does_something_else_is_another_job_and_a_retry_finds_its_own(
    kind: type[AzureMLJobOperator], others: list[dict[str, Any]], submitted: Submitted
) -> None:
    fixed = {"folder": "a"} if kind is AzureMLParallelOperator else {"estimator": "ridge"}
    found = [submitted(kind, **fixed | other) for other in others]
    again = submitted(kind, **fixed)
    assert again == found[0]
    assert len({name for name, _ in found}) == len({what.key for _, what in found}) == len(others)
    assert all(what.key in name for name, what in found)
