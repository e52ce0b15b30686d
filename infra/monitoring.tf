resource "azurerm_log_analytics_workspace" "noria" {
  name                         = "${local.name}-logs"
  resource_group_name          = azurerm_resource_group.noria.name
  location                     = var.location
  retention_in_days            = var.log_retention_days
  daily_quota_gb               = var.log_daily_gb
  local_authentication_enabled = false
  tags                         = local.tags
}

locals {
  # Who read a secret, who deleted what, which batch and which job ran. Reads of the lake are left out: they are many.
  watched = merge(
    {
      lake    = { id = "${azurerm_storage_account.account["lake"].id}/blobServices/default", logs = ["StorageDelete"] }
      synapse = { id = azurerm_synapse_workspace.noria.id, logs = ["SynapseRbacOperations", "GatewayApiRequests"] }
      spark   = { id = azurerm_synapse_spark_pool.noria.id, logs = ["BigDataPoolAppsEnded"] }
      images  = { id = azurerm_container_registry.images.id, logs = ["ContainerRegistryLoginEvents", "ContainerRegistryRepositoryEvents"] }
    },
    { for name, vault in azurerm_key_vault.vault : "vault_${name}" => { id = vault.id, logs = ["AuditEvent"] } },
    { for name, workspace in azurerm_machine_learning_workspace.workspace : "workspace_${name}" => {
      id = workspace.id, logs = ["AmlComputeJobEvent", "AmlComputeClusterEvent", "RunEvent", "ModelsChangeEvent"]
    } },
  )
}

resource "azurerm_monitor_diagnostic_setting" "watched" {
  for_each                   = local.watched
  name                       = "noria"
  target_resource_id         = each.value.id
  log_analytics_workspace_id = azurerm_log_analytics_workspace.noria.id

  dynamic "enabled_log" {
    for_each = each.value.logs
    content {
      category = enabled_log.value
    }
  }
}

resource "azurerm_consumption_budget_resource_group" "noria" {
  name              = local.name
  resource_group_id = azurerm_resource_group.noria.id
  amount            = var.budget_amount
  time_grain        = "Monthly"

  time_period {
    start_date = formatdate("YYYY-MM-01'T'00:00:00Z", plantimestamp())
  }

  dynamic "notification" {
    for_each = [50, 80, 100]
    content {
      threshold      = notification.value
      threshold_type = "Actual"
      operator       = "GreaterThanOrEqualTo"
      contact_emails = var.budget_emails
    }
  }

  lifecycle {
    ignore_changes = [time_period] # it begins in the month of the first deployment
  }
}
