resource "azurerm_application_insights" "ml" {
  name                         = "${local.name}-ml"
  resource_group_name          = azurerm_resource_group.noria.name
  location                     = var.location
  application_type             = "web"
  workspace_id                 = azurerm_log_analytics_workspace.noria.id
  daily_data_cap_in_gb         = var.log_daily_gb
  local_authentication_enabled = false
  tags                         = local.tags
}

# Where Azure ML puts the images that it builds. The environment itself (an image and the exact versions of
# requirements/azureml.txt) is registered by the first job under the hash of both, so none is made here.
resource "azurerm_container_registry" "images" {
  name                   = "${local.flat}images"
  resource_group_name    = azurerm_resource_group.noria.name
  location               = var.location
  sku                    = "Basic"
  admin_enabled          = false
  anonymous_pull_enabled = false
  tags                   = local.tags
}

# `ml` runs jobs; `models` receives promoted models, has no compute, and only in an environment that has one.
resource "azurerm_machine_learning_workspace" "workspace" {
  for_each                       = local.workspaces
  name                           = "${local.name}-${each.key}"
  resource_group_name            = azurerm_resource_group.noria.name
  location                       = var.location
  application_insights_id        = azurerm_application_insights.ml.id
  key_vault_id                   = azurerm_key_vault.vault[each.key].id
  storage_account_id             = azurerm_storage_account.account[each.key].id
  storage_account_access_type    = "Identity"
  container_registry_id          = azurerm_container_registry.images.id
  primary_user_assigned_identity = azurerm_user_assigned_identity.workspace[each.key].id
  public_network_access_enabled  = true
  tags                           = local.tags

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.workspace[each.key].id]
  }

  depends_on = [azurerm_role_assignment.grant] # it uses its roles while it is made
}

resource "azurerm_machine_learning_compute_cluster" "train" {
  name                          = "train"
  location                      = var.location
  machine_learning_workspace_id = azurerm_machine_learning_workspace.workspace["ml"].id
  vm_size                       = var.compute_vm_size
  vm_priority                   = var.compute_vm_priority
  local_auth_enabled            = false
  ssh_public_access_enabled     = false
  tags                          = local.tags

  scale_settings {
    min_node_count                       = 0 # no job, no machine, no bill
    max_node_count                       = var.compute_max_nodes
    scale_down_nodes_after_idle_duration = "PT2M"
  }
  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.jobs.id]
  }
}
