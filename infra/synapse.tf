resource "azurerm_synapse_workspace" "noria" {
  name                                 = "${local.name}-synapse"
  resource_group_name                  = azurerm_resource_group.noria.name
  location                             = var.location
  storage_data_lake_gen2_filesystem_id = "${azurerm_storage_account.account["lake"].primary_dfs_endpoint}${azurerm_storage_container.container["synapse"].name}"
  azuread_authentication_only          = true # no SQL password
  public_network_access_enabled        = true
  tags                                 = local.tags

  identity {
    type = "SystemAssigned"
  }

  lifecycle {
    ignore_changes = [sql_administrator_login] # Azure puts a name there that nobody can sign in with
  }
}

# Without such a rule nobody reaches the workspace, not even to submit a batch.
resource "azurerm_synapse_firewall_rule" "allowed" {
  count                = length(var.allowed_ip_ranges)
  name                 = "allowed-${count.index}"
  synapse_workspace_id = azurerm_synapse_workspace.noria.id
  start_ip_address     = cidrhost(var.allowed_ip_ranges[count.index], 0)
  end_ip_address       = cidrhost(var.allowed_ip_ranges[count.index], -1)
}

resource "azurerm_synapse_spark_pool" "noria" {
  name                           = "noria"
  synapse_workspace_id           = azurerm_synapse_workspace.noria.id
  node_size_family               = "MemoryOptimized"
  node_size                      = "Small" # 4 vCores, 32 GB
  spark_version                  = "3.5"
  session_level_packages_enabled = true
  tags                           = local.tags

  auto_scale {
    min_node_count = 3
    max_node_count = var.spark_max_nodes
  }
  auto_pause {
    delay_in_minutes = 5 # the shortest there is; a paused pool costs nothing
  }
}
