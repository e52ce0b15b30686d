"""What the operators for Azure ML call their jobs; tests/azure/test_azureml_operators.py has them at work."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from noria.airflow import azureml
from noria.airflow.azureml import (
    AzureMLCommandOperator,
    AzureMLJobOperator,
    AzureMLParallelOperator,
    AzureMLSweepOperator,
)
from noria.airflow.remote import RemoteJob
from noria.compute.remote import JobUse
from noria.costs.usage import usage_of
from noria.errors import JobError
from noria.jobs.metering import Metering
from noria.jobs.runner import keep_failure
from noria.records import Usage
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


def test_each_node_of_a_training_that_failed_is_accounted_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier try's failure says nothing of this one, nor does it stand there where the training was killed."""
    monkeypatch.setenv("NORIA_HOME", str(tmp_path))
    workspace = Workspace.open(Settings.from_env())
    run = workspace.create_run("students", RUN)
    keep_failure("train", JobError("an earlier try's"), run, workspace)
    with Metering("train", "students", RUN, workspace, is_node=True) as metering:
        metering.has_failed = True
    ended = datetime.now(UTC) + timedelta(seconds=1)
    usage = Usage(wall_seconds=60, cpu_seconds=0, peak_rss_bytes=0, vcpu_seconds=480)
    use = JobUse(ended - timedelta(seconds=60), ended, usage, nodes=2)
    monkeypatch.setattr(azureml, "use_of", lambda *_: use)
    monkeypatch.setattr(RemoteJob, "jobs", lambda _job: None)
    task = AzureMLCommandOperator(task_id="train", pipeline="students", run_id=RUN)
    for succeeded in (True, False, False):  # a task that is woken twice adds nothing
        task.account(RemoteJob("p", "c", "j"), succeeded=succeeded)
    jobs = [job for _path, job in usage_of(ended.date(), workspace.lake)]
    assert sorted((job.outcome, job.usage.vcpu_seconds > 200) for job in jobs) == [("failed", False), ("killed", True)]
    assert sum(job.usage.vcpu_seconds for job in jobs if job.outcome == "killed") == 240
