"""Airflow connections as the library takes them: plain data, handed to a workspace and through a pipe to jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from noria.airflow.secrets_backend import confirm_absent
from noria.azure import CONNECTIONS, AzureConnection
from noria.errors import InputError
from noria.records import Run
from noria.settings import Settings
from noria.verdicts import CONNECTION as VERDICTS
from noria.verdicts import SIGNING_STAGES
from noria.workspace import Workspace

if TYPE_CHECKING:
    from airflow.sdk import Connection


def open_workspace(settings: Settings) -> Workspace:
    """The workspace of these settings, with the connections that its lake and registry need: for mails and pages.

    They are given the key that signs verdicts, and only verify by it: a signature of this kind is checked with the very
    key that makes it.
    """
    return Workspace.open(settings, signing_credentials(settings))


def stage_workspace(stage: str, settings: Settings) -> Workspace:
    """The workspace of a stage, with the key that signs verdicts only where the stage needs it."""
    return Workspace.open(settings, _kept_credentials(stage, settings))


def stage_credentials(stage: str, run: Run, settings: Settings) -> dict[str, str]:
    """All that a stage's job is given: for its source, for Azure, and the key that signs verdicts if it needs that."""
    return passwords(run.pipeline.connections) | _kept_credentials(stage, settings)


def signing_credentials(settings: Settings) -> dict[str, str]:
    """Azure's connections and the key that signs verdicts, where there is one; for those who may promote."""
    return azure_connections(settings) | passwords((VERDICTS,))


def azure_connections(settings: Settings) -> dict[str, str]:
    """The connections of the profile azure that exist, as JSON; none for any other profile.

    Raises:
        UnavailableError: It is not sure that one that was not found does not exist. Without `azureml_production` a
            model would be judged and registered in another workspace.
    """
    if settings.profile != "azure":
        return {}
    found = ((conn_id, _find(conn_id)) for conn_id in CONNECTIONS)
    return {conn_id: connection_json(connection) for conn_id, connection in found if connection}


def passwords(conn_ids: tuple[str, ...]) -> dict[str, str]:
    """Passwords of those connections that exist; a public source needs none."""
    found = ((conn_id, _find(conn_id)) for conn_id in conn_ids)
    return {conn_id: connection.password for conn_id, connection in found if connection and connection.password}


def connection_json(connection: Connection) -> str:
    """A connection as JSON text, secrets and all: for a pipe, never for a log."""
    return json.dumps(
        {
            "conn_type": connection.conn_type,
            "host": connection.host,
            "port": connection.port,
            "login": connection.login,
            "password": connection.password,
            "extra": connection.extra_dejson,
        }
    )


def required_connection(conn_id: str) -> AzureConnection:
    """A connection to Azure.

    Raises:
        InputError: There is none.
        UnavailableError: A secrets backend does not say whether there is one.
    """
    connection = _find(conn_id)
    if connection is None:
        raise InputError(
            f"no connection {conn_id}", expected="an Airflow connection of that id", remedy="See docs/azure.md."
        )
    return to_azure(connection)


def to_azure(connection: Connection) -> AzureConnection:
    """An Airflow connection as the library's."""
    return AzureConnection.parse(connection.conn_id, connection_json(connection))


def _kept_credentials(stage: str, settings: Settings) -> dict[str, str]:
    return signing_credentials(settings) if stage in SIGNING_STAGES else azure_connections(settings)


def _find(conn_id: str) -> Connection | None:
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        confirm_absent(conn_id)
        return None
