"""Azure's services as an error names them: the role that whoever asks needs, and where it is granted.

docs/azure.md names the same roles and infra/ grants them; tests compare the three.
"""

from __future__ import annotations

import enum


class Service(enum.Enum):
    """A service, the narrowest built-in role that suffices, and its scope."""

    STORAGE = ("Storage Blob Data Contributor", "the container of the lake")
    SYNAPSE = ("Synapse Compute Operator", "the Spark pool (a Synapse role: Synapse Studio, Manage, Access control)")
    ML = ("AzureML Data Scientist", "the Azure ML workspace")
    REGISTRY = ("AzureML Data Scientist", "the Azure ML workspace that keeps the models")
    ARTIFACTS = ("Storage Blob Data Contributor", "the storage account of the Azure ML workspace")
    COSTS = ("Cost Management Contributor", "what extra.scope of the connection azure_costs names")
    EXPORTS = ("Storage Account Contributor", "the storage account of the lake, where the cost export delivers")
    VAULT = ("Key Vault Secrets User", "the key vault")

    def __init__(self, role: str, scope: str) -> None:
        self.role, self.scope = role, scope

    @property
    def keeps_state(self) -> bool:
        """Whether its refusals are StorageErrors: the lake and the registry."""
        return self in (Service.STORAGE, Service.REGISTRY, Service.ARTIFACTS)
