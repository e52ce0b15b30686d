"""The lake on ADLS Gen2: its container, reading and writing, its lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noria.azure import AzureConnection
from noria.azure.errors import explained
from noria.doctor.finding import Verdict
from noria.doctor.probe import probe
from noria.errors import InputError
from noria.lake import Lake, open_lake
from noria.lake.abfs.url import AbfsUrl

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

LOCK = "doctor"
_READ_SECONDS = 6
_IMPATIENT: dict[str, int] = {"retry_total": 0, "connection_timeout": 4, "read_timeout": _READ_SECONDS}


def lake_resource(lake_url: str) -> str:
    """The lake as an error names it."""
    try:
        place = AbfsUrl.parse(lake_url)
    except InputError:
        return "lake"
    return f"storage account {place.account}, container {place.container}"


def check_lake(lake_url: str, connection: AzureConnection | None) -> Verdict:
    """The container is there; a file can be listed, created, read and deleted."""
    if not lake_url.startswith(("abfs://", "abfss://")):
        raise InputError(
            f"NORIA_LAKE_URL is {lake_url}, which Synapse and Azure ML cannot reach",
            expected="abfss://CONTAINER@ACCOUNT.dfs.core.windows.net[/FOLDER]",
            remedy="Set NORIA_LAKE_URL, or NORIA_PROFILE=local.",
        )
    lake = reached(lake_url, connection)
    probe(lake)
    return "ok", f"{lake.root}: listed, written, read, deleted", ""


def check_lock(lake_url: str, connection: AzureConnection | None) -> Verdict:
    """The lock that promotions take turns by can be taken."""
    with reached(lake_url, connection).lock(LOCK, wait_seconds=_READ_SECONDS):
        return "ok", f"{lake_resource(lake_url)}: leased and given back", ""


def reached(lake_url: str, connection: AzureConnection | None) -> Lake:
    """The lake, after its container has answered: it waits out what may pass, for longer than a doctor can."""
    with explained(lake_resource(lake_url)), _container(lake_url, connection) as container:
        container.get_container_properties()
    return open_lake(lake_url, connection)


def _container(lake_url: str, connection: AzureConnection | None) -> ContainerClient:
    from azure.storage.blob import BlobServiceClient

    place = AbfsUrl.parse(lake_url)
    connection = connection or AzureConnection("adls_default")
    if text := connection.get("connection_string"):
        return BlobServiceClient.from_connection_string(text, **_IMPATIENT).get_container_client(place.container)
    host = connection.get("account_host") or place.blob_host
    return container_client(f"https://{host}", place.container, connection)


def container_client(url: str, container: str, connection: AzureConnection) -> ContainerClient:
    """A client that asks once, as the identity of a connection."""
    from azure.storage.blob import ContainerClient

    return ContainerClient(url, container, credential=connection.credential(), **_IMPATIENT)
