"""What every job on Azure ML is given, whatever it does: name, code, environment, compute, identity, settings, tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noria.azure import AzureConnection
from noria.errors import InputError
from noria.settings import Settings

if TYPE_CHECKING:
    from azure.ai.ml.entities import ManagedIdentityConfiguration

LONGEST_SECONDS = 6 * 3600
"""A job that takes longer is ended by Azure ML, so that one that hangs does not cost for ever."""


@dataclass(frozen=True)
class Frame:
    """What a job of any kind is made with.

    Attributes:
        name: Its name; it follows from the run.
        code: Folder of the code snapshot.
        environment: `azureml:NAME:VERSION`.
        compute: Name of the compute cluster.
        nodes: Nodes of the cluster that one training may take.
        identity_client_id: Client id of the user-assigned identity that the job runs with; without one it is the
            cluster's own.
        variables: Its environment variables.
        tags: What it is tagged with.
        experiment: What Studio groups it under.
    """

    name: str
    code: str
    environment: str
    compute: str
    nodes: int
    identity_client_id: str
    variables: dict[str, str]
    tags: dict[str, str]
    experiment: str

    @property
    def identity(self) -> ManagedIdentityConfiguration:
        """The managed identity, by which the job reads and writes the lake."""
        from azure.ai.ml.entities import ManagedIdentityConfiguration

        return ManagedIdentityConfiguration(client_id=self.identity_client_id or None)

    @property
    def described(self) -> dict[str, Any]:
        """Arguments that all kinds of jobs share."""
        return {
            "name": self.name,
            "display_name": self.name,
            "experiment_name": self.experiment,
            "tags": self.tags,
            "compute": self.compute,
        }


def variables(settings: Settings, connection: AzureConnection) -> dict[str, str]:
    """Environment variables of a job: the lake, and by which identity; no secret is among them.

    Raises:
        InputError: The lake is none that another machine can reach.
    """
    if not settings.lake_url.startswith(("abfs://", "abfss://")):
        raise InputError(
            f"a job on Azure ML cannot reach the lake {settings.lake_url}",
            expected="NORIA_LAKE_URL=abfss://CONTAINER@ACCOUNT.dfs.core.windows.net",
            remedy="See docs/azure.md.",
        )
    found = {
        "NORIA_PROFILE": "azure",
        "NORIA_LAKE_URL": settings.lake_url,
        "NORIA_HOME": "scratch",  # below the job's working folder, which is the node's own disk and ends with the job
        "PYTHONPATH": "include",
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",  # a job speaks to Azure only
    }
    if client_id := connection.get("identity_client_id"):
        found["AZURE_CLIENT_ID"] = client_id  # what DefaultAzureCredential takes for a user-assigned identity
    return found


def node_count(connection: AzureConnection) -> int:
    """Nodes for one training, from `extra.nodes`.

    Raises:
        InputError: It is no whole number above zero.
    """
    text = str(connection.extra.get("nodes") or 1)
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"connection {connection.conn_id}: extra.nodes is {text!r}", expected="a number such as 2")
    return int(text)


def frame(
    connection: AzureConnection,
    settings: Settings,
    *,
    name: str,
    code: str,
    environment: str,
    tags: Mapping[str, str],
    experiment: str,
    machine: str,
) -> Frame:
    """A job's frame, from the connection and the settings. Raises InputError where one of them does not do."""
    return Frame(
        name=name,
        code=code,
        environment=environment,
        compute=connection.require("compute"),
        nodes=node_count(connection),
        identity_client_id=connection.get("identity_client_id"),
        variables=variables(settings, connection) | {"NORIA_MACHINE": machine},
        tags=dict(tags),
        experiment=experiment,
    )
