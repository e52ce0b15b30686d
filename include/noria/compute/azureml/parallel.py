"""Many partitions on many workers: a parallel job, which Azure ML runs as the one step of a pipeline job."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from noria.compute.azureml.frame import Frame
from noria.records import Run

if TYPE_CHECKING:
    from azure.ai.ml.entities import PipelineJob

ENTRY = "include/noria/jobs/partitions.py"


@dataclass(frozen=True)
class Partitions:
    """What is worked on.

    Attributes:
        url: Folder of Parquet files in the lake, one a partition, such as `abfss://lake@account.dfs.core.windows.net/p`.
        key: Folder of the rows, below `partitions/` of the run; what keeps jobs of one run apart.
        workers: Worker processes on each node.
        batch: Files that a worker is given at once.
        attempts: How often a batch that failed is tried in all.
        batch_seconds: A batch that takes longer has failed.
    """

    url: str
    key: str = ""
    workers: int = 2
    batch: int = 10
    attempts: int = 3
    batch_seconds: int = 600


def partitions_job(frame: Frame, partitions: Partitions, run: Run) -> PipelineJob:
    """The job: `noria.jobs.partitions` is asked with a few files at a time."""
    from azure.ai.ml import Input, Output
    from azure.ai.ml.constants import AssetTypes, InputOutputModes
    from azure.ai.ml.entities import PipelineJob
    from azure.ai.ml.parallel import RunFunction, parallel_run_function

    step = parallel_run_function(
        name="partitions",
        tags=frame.tags,
        inputs={
            "files": Input(type=AssetTypes.URI_FOLDER, path=partitions.url, mode=InputOutputModes.RO_MOUNT),
        },
        outputs={"rows": Output(type=AssetTypes.URI_FILE)},
        input_data="${{inputs.files}}",
        mini_batch_size=str(partitions.batch),
        instance_count=frame.nodes,
        max_concurrency_per_instance=partitions.workers,
        mini_batch_error_threshold=0,
        retry_settings={"max_retries": partitions.attempts - 1, "timeout": partitions.batch_seconds},
        environment_variables=frame.variables,
        identity=frame.identity,
        task=RunFunction(
            code=frame.code,
            entry_script=ENTRY,
            environment=frame.environment,
            program_arguments=shlex.join(_arguments(partitions, run)),
            append_row_to="${{outputs.rows}}",
        ),
    )
    return PipelineJob(
        **frame.described,
        jobs={"partitions": step},
        settings={"default_compute": frame.compute},
    )


def _arguments(partitions: Partitions, run: Run) -> list[str]:
    found = ["--pipeline", run.pipeline.name, "--run-id", run.run_id, "--url", partitions.url]
    return [*found, "--key", partitions.key] if partitions.key else found
