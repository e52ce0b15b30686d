locals {
  identity = {
    tenantId                   = data.azurerm_client_config.current.tenant_id
    managed_identity_client_id = azurerm_user_assigned_identity.airflow.client_id
  }
  place = merge(local.identity, {
    subscriptionId = data.azurerm_client_config.current.subscription_id
    resourceGroup  = azurerm_resource_group.noria.name
  })
  ml = { for name, workspace in azurerm_machine_learning_workspace.workspace : name => merge(local.place, { workspace = workspace.name }) }
}

output "connections" {
  description = "Airflow connections as JSON, by id; infra/fill_key_vault.sh puts them into the key vault. No secret is in them."
  value = { for id, connection in merge(
    {
      adls_default = { conn_type = "adls", extra = local.identity }
      azure_synapse_default = {
        conn_type = "azure_synapse"
        host      = azurerm_synapse_workspace.noria.connectivity_endpoints["dev"]
        extra     = merge(local.place, { sparkPool = azurerm_synapse_spark_pool.noria.name })
      }
      azureml_default = {
        conn_type = "azure"
        extra = merge(local.ml["ml"], {
          compute            = azurerm_machine_learning_compute_cluster.train.name
          identity_client_id = azurerm_user_assigned_identity.jobs.client_id
        })
      }
      azure_costs = {
        conn_type = "azure"
        extra = merge(local.identity, {
          scope            = azurerm_resource_group.noria.id
          storageAccountId = azurerm_storage_account.account["lake"].id
        })
      }
    },
    { for name, extra in local.ml : "azureml_production" => { conn_type = "azure", extra = extra } if name == "models" },
  ) : id => jsonencode(connection) }
}

output "environment" {
  description = "Environment variables of Airflow's processes, as lines for a shell or an .env file."
  value = join("\n", [
    "NORIA_PROFILE=azure",
    "NORIA_LAKE_URL=abfss://${azurerm_storage_container.container["lake"].name}@${azurerm_storage_account.account["lake"].primary_dfs_host}",
    "AIRFLOW__SECRETS__BACKEND=airflow.providers.microsoft.azure.secrets.key_vault.AzureKeyVaultBackend",
    "AIRFLOW__SECRETS__BACKEND_KWARGS='${jsonencode({
      connections_prefix = "airflow-connections"
      variables_prefix   = null # only connections are in the vault: no request for anything else
      config_prefix      = null
      vault_url          = azurerm_key_vault.vault["airflow"].vault_uri
      # the backend takes the identity's id only together with the tenant's
      managed_identity_client_id  = azurerm_user_assigned_identity.airflow.client_id
      workload_identity_tenant_id = data.azurerm_client_config.current.tenant_id
    })}'",
  ])
}

output "key_vault" {
  description = "Name of the vault that keeps Airflow's connections."
  value       = azurerm_key_vault.vault["airflow"].name
}

output "airflow_identity" {
  description = "Resource id of Airflow's identity, to attach it to a machine: az vm identity assign --identities ID."
  value       = azurerm_user_assigned_identity.airflow.id
}
