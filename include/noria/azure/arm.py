"""Where Azure Resource Manager is, by the cloud that a connection names."""

from __future__ import annotations

from noria.azure.connection import AzureConnection

_CLOUDS = {"AzureChinaCloud": "AZURE_CHINA_CLOUD", "AzureUSGovernment": "AZURE_US_GOVERNMENT"}


def arm_endpoint(connection: AzureConnection) -> tuple[str, list[str]]:
    """Its address, without a slash at its end, and what tokens for it must be for."""
    from azure.core import AzureClouds
    from azure.mgmt.core.tools import get_arm_endpoints

    if own := (connection.extra.get("cloudMetadata") or {}).get("resource_manager"):
        base = str(own).rstrip("/")
        return base, [f"{base}/.default"]
    cloud = connection.get("cloud") or connection.get("cloud_environment")
    known = get_arm_endpoints(AzureClouds[_CLOUDS.get(cloud, "AZURE_PUBLIC_CLOUD")])
    return known["resource_manager"].rstrip("/"), known["credential_scopes"]
