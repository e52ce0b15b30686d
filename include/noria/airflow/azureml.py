"""Azure ML in Airflow: a hook, and operators that submit a job and sleep until it has ended."""

from __future__ import annotations

from noria.azure import AzureConnection
from noria.compute.azureml import AzureMLJobs


def jobs(connection: AzureConnection) -> AzureMLJobs:
    """The jobs of the workspace that a connection names; what a trigger is told."""
    return AzureMLJobs(connection)
