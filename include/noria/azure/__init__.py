"""What all Azure back ends share: connections as plain data, Entra ID credentials, Azure's refusals as our errors.

What a service does (lake, jobs, registry) belongs to its own package; nothing here imports Airflow.
"""

from noria.azure.connection import AzureConnection

__all__ = ["CONNECTIONS", "COSTS", "LAKE", "ML", "PRODUCTION", "SYNAPSE", "AzureConnection"]

LAKE = "adls_default"
"""The storage account: `adls`."""
SYNAPSE = "azure_synapse_default"
"""The Synapse workspace and its Spark pool: `azure_synapse`."""
ML = "azureml_default"
"""The Azure ML workspace where jobs run: `azure`."""
PRODUCTION = "azureml_production"
"""The Azure ML workspace that receives promoted models: `azure`; without it they stay where the jobs run."""
COSTS = "azure_costs"
"""What Azure bills, and its budgets: `azure`; without it costs come from metering alone."""
CONNECTIONS = (LAKE, SYNAPSE, ML, PRODUCTION, COSTS)
