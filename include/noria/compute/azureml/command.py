"""A stage of a run as a command job, on one node or, with Dask between them, on several."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING

from noria.compute.azureml.frame import LONGEST_SECONDS, Frame
from noria.records import Run

if TYPE_CHECKING:
    from azure.ai.ml.entities import Command


def stage_job(frame: Frame, stage: str, run: Run) -> Command:
    """The job: `python -m noria.jobs.<stage>`, as anywhere else.

    A training on several nodes is a distributed job of the kind `PyTorch` with one process a node: Azure ML then tells
    each its NODE_RANK and the first one's MASTER_ADDR and MASTER_PORT, which is all that Dask needs. Azure's own Dask
    example does the same (azureml-examples, cli/jobs/dataprep/dask); the variables are documented in the "Distributed
    GPU training guide (SDK v2)", https://learn.microsoft.com/azure/machine-learning/how-to-train-distributed-gpu
    """
    from azure.ai.ml import PyTorchDistribution, command

    spread = stage == "train" and frame.nodes > 1
    limit = max(LONGEST_SECONDS, 4 * run.pipeline.tuning.timeout_seconds)
    return command(
        **frame.described,
        code=frame.code,
        command=shlex.join(_spread(frame, run) if spread else _single(stage, run)),
        environment=frame.environment,
        environment_variables=frame.variables,
        identity=frame.identity,
        instance_count=frame.nodes if spread else 1,
        distribution=PyTorchDistribution(process_count_per_instance=1) if spread else None,
        timeout=math.ceil(limit),
    )


def _single(stage: str, run: Run) -> list[str]:
    return ["python", "-m", f"noria.jobs.{stage}", "--pipeline", run.pipeline.name, "--run-id", run.run_id]


def _spread(frame: Frame, run: Run) -> list[str]:
    workers = math.ceil(run.pipeline.tuning.workers / frame.nodes)
    job = ["--pipeline", run.pipeline.name, "--run-id", run.run_id]
    return ["python", "-m", "noria.jobs.dask_node", *job, "--workers", str(workers)]
