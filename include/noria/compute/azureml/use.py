"""What a job on Azure ML used: whole nodes, from when it ran until it ended, busy or idle."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from noria.compute.remote import JobUse
from noria.records import Usage

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

log = logging.getLogger(__name__)


def machine_of(client: MLClient, compute: str) -> str:
    """A cluster's nodes in the price sheet's words: `azureml/<node size>`, or `azureml/<cluster>` if it is not told."""
    from azure.core.exceptions import AzureError

    try:
        size = getattr(client.compute.get(compute), "size", None)
    except AzureError as error:
        log.warning("the node size of compute %s is not told: %s", compute, type(error).__name__)
        size = None
    return f"azureml/{size or compute}"


def vcpus_of(client: MLClient, machine: str) -> int:
    """vCPUs of a node, as Azure lists its sizes; 0 where it does not."""
    size = machine.partition("/")[2].lower()
    for known in client.compute.list_sizes():
        facts = vars(known)  # azure-ai-ml 1.35 leaves numbers under REST's own name and fills its attribute with none
        if str(known.name).lower() == size:
            return int(facts.get("v_cp_us") or facts.get("vCPUs") or 0)
    return 0


def use_of(details: Any, machine: str, vcpus: int, nodes: int) -> JobUse | None:
    """What a job used, by run history's times; none of a job that never ran. What its CPUs did is not told there.

    Args:
        details: Run history's page of the job.
        machine: What it ran on.
        vcpus: Of one node.
        nodes: How many it held.
    """
    started, finished = details.start_time_utc, details.end_time_utc
    if started is None or finished is None:
        return None
    wall = max(0.0, (finished - started).total_seconds())
    usage = Usage(
        wall_seconds=round(wall, 3),
        cpu_seconds=0.0,
        peak_rss_bytes=0,
        vcpu_seconds=round(wall * vcpus * nodes, 3),
        machine=machine,
    )
    return JobUse(started, finished, usage, nodes)
