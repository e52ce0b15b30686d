"""From the workspace's connection to the service."""

from __future__ import annotations

from noria.azure import COSTS
from noria.azure.cost_client import CostClient
from noria.errors import InputError
from noria.workspace import Workspace


def open_client(workspace: Workspace) -> CostClient:
    """The client of the workspace's connection. Raises InputError if there is none."""
    connection = workspace.connection(COSTS)
    if connection is None:
        raise InputError(
            f"no connection {COSTS}", expected="an Airflow connection of that id", remedy="See docs/azure.md."
        )
    return CostClient(connection)
