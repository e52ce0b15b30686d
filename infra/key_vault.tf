# `airflow` keeps Airflow's connections; each Azure ML workspace has one that only it uses.
resource "azurerm_key_vault" "vault" {
  for_each                      = setunion(["airflow"], local.workspaces)
  name                          = "${local.flat}${each.key}"
  resource_group_name           = azurerm_resource_group.noria.name
  location                      = var.location
  tenant_id                     = data.azurerm_client_config.current.tenant_id
  sku_name                      = "standard"
  rbac_authorization_enabled    = true
  purge_protection_enabled      = true
  soft_delete_retention_days    = 90
  public_network_access_enabled = true # for the addresses below
  tags                          = local.tags

  network_acls {
    default_action = "Deny"
    bypass         = "AzureServices"
    ip_rules       = each.key == "airflow" ? var.allowed_ip_ranges : []
  }
}
