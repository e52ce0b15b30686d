"""The Azure ML SDK's client, from a connection."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from noria.azure.connection import AzureConnection

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


def ml_client(connection: AzureConnection) -> MLClient:
    """The client of the workspace that the connection names.

    Its extra holds `subscriptionId`, `resourceGroup` and `workspace`; `cloud` and `cloudMetadata` only where it is not
    the public cloud.

    Raises:
        InputError: One of the three is missing.
    """
    from azure.ai.ml import MLClient

    for noisy in ("azure.core.pipeline.policies.http_logging_policy", "azure.ai.ml"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    options: dict[str, Any] = {"show_progress": False, "enable_telemetry": False}
    if cloud := connection.get("cloud"):
        options["cloud"] = cloud
    if metadata := connection.extra.get("cloudMetadata"):
        options["cloud_metadata"] = metadata
    return MLClient(
        connection.credential(),
        connection.require("subscriptionId"),
        connection.require("resourceGroup"),
        connection.require("workspace"),
        **options,
    )
