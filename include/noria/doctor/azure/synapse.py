"""Synapse: the workspace answers, the pool is there and lets this identity look at its jobs."""

from __future__ import annotations

import urllib.parse

from noria.azure import AzureConnection
from noria.azure.errors import Service, explained
from noria.compute.synapse_client import API_VERSION
from noria.doctor.finding import Verdict

_CONNECT_SECONDS, _READ_SECONDS = 4, 6


def pool_resource(connection: AzureConnection) -> str:
    """The pool as an error names it."""
    workspace = (urllib.parse.urlsplit(connection.host).hostname or connection.host).partition(".")[0]
    return f"Spark pool {connection.get('sparkPool')} of Synapse workspace {workspace}"


def check_pool(connection: AzureConnection) -> Verdict:
    """Ask for the pool's batches, which starts no machine.

    Any role of Synapse suffices for that. Whether it is one that may submit cannot be asked reliably: the documents
    name the action in two ways, and roles that come by a group are not listed.
    """
    from azure.synapse.spark import SparkClient

    resource = pool_resource(connection)
    with explained(resource, Service.SYNAPSE):
        client = SparkClient(
            credential=connection.credential(),
            endpoint=connection.host.rstrip("/"),
            spark_pool_name=connection.get("sparkPool"),
            livy_api_version=API_VERSION,
            retry_total=0,
            connection_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
        )
        client.spark_batch.get_spark_batch_jobs(0, 1)
    return "ok", f"{resource} shows its batches; whether it takes one, the first one shows", ""
