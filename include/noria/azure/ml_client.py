"""The Azure ML SDK's client, from a connection."""

from __future__ import annotations

import functools
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from noria.azure.connection import AzureConnection

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

CONNECT_SECONDS, READ_SECONDS = 20, 60
"""The SDK's own are 300 s each, and it tries again several times."""
_RETRIES = {"retry_total": 15, "retry_status": 15, "retry_backoff_max": 8}
"""1.6 + 3.2 + 6.4 + 8 + ... seconds, or what Retry-After says; the SDK's own 3 attempts give up after 5 s."""


def ml_client(connection: AzureConnection, credential: TokenCredential | None = None) -> MLClient:
    """The client of the workspace that the connection names; it asks nothing before it is used.

    Its extra holds `subscriptionId`, `resourceGroup` and `workspace`; `cloud` and `cloudMetadata` only where it is not
    the public cloud.

    Args:
        connection: Which workspace.
        credential: Whose name to use, if it is at hand already.

    Raises:
        InputError: One of the three is missing.
    """
    if metadata := connection.extra.get("cloudMetadata"):
        _forget_cloud()
    from azure.ai.ml import MLClient

    for noisy in ("azure.core.pipeline.policies.http_logging_policy", "azure.identity", "azure.ai.ml"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    _draw_no_bars()
    # With progress hidden, the SDK loses the errors of a failed upload and waits for its end for ever.
    options: dict[str, Any] = {"show_progress": True, "enable_telemetry": False, **_RETRIES}
    options |= {"connection_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
    if cloud := connection.get("cloud"):
        options["cloud"] = cloud
    if metadata:
        options["cloud_metadata"] = metadata
    return MLClient(
        credential or connection.credential(),
        connection.require("subscriptionId"),
        connection.require("resourceGroup"),
        connection.require("workspace"),
        **options,
    )


def _forget_cloud() -> None:
    """A parent's client leaves its cloud's name in the environment; the import would ask the public cloud about it."""
    if "azure.ai.ml" not in sys.modules:
        os.environ.pop("AZUREML_CURRENT_CLOUD", None)


def _draw_no_bars() -> None:
    """Keep the progress bars of uploads out of the logs."""
    from azure.ai.ml._utils import _asset_utils

    if not isinstance(_asset_utils.tqdm, functools.partial):
        _asset_utils.tqdm = functools.partial(_asset_utils.tqdm, disable=True)
