locals {
  # One with folders, for the lake; one without for each Azure ML workspace, which takes no other.
  accounts = merge({ lake = true }, { for name in local.workspaces : name => false })
}

resource "azurerm_storage_account" "account" {
  for_each                        = local.accounts
  name                            = "${local.flat}${each.key}"
  resource_group_name             = azurerm_resource_group.noria.name
  location                        = var.location
  account_kind                    = "StorageV2"
  account_tier                    = "Standard"
  account_replication_type        = var.storage_replication
  is_hns_enabled                  = each.value
  min_tls_version                 = "TLS1_2"
  https_traffic_only_enabled      = true
  shared_access_key_enabled       = false # Entra ID alone; a key would open everything to whoever has it
  default_to_oauth_authentication = true
  allow_nested_items_to_be_public = false
  local_user_enabled              = false
  # The Spark pool and the training cluster call from Azure's own addresses, which no rule by address can name:
  # who gets in is decided by identities alone.
  public_network_access_enabled = true
  tags                          = local.tags

  blob_properties {
    delete_retention_policy {
      days = 14
    }
    container_delete_retention_policy {
      days = 14
    }
  }
}

# `lake` is Noria's, `synapse` keeps what the Spark pool writes for itself.
resource "azurerm_storage_container" "container" {
  for_each              = toset(["lake", "synapse"])
  name                  = each.key
  storage_account_id    = azurerm_storage_account.account["lake"].id
  container_access_type = "private"
}

# Records name snapshots and models by hash for ever, so nothing of the lake is deleted, only kept cheaper.
resource "azurerm_storage_management_policy" "lake" {
  storage_account_id = azurerm_storage_account.account["lake"].id

  rule {
    name    = "lake-cools"
    enabled = true

    filters {
      blob_types   = ["blockBlob"]
      prefix_match = ["lake/raw/", "lake/typed/", "lake/runs/"]
    }
    actions {
      base_blob {
        tier_to_cool_after_days_since_modification_greater_than = 30
        tier_to_cold_after_days_since_modification_greater_than = 120
      }
    }
  }

  rule {
    name    = "spark-logs-end"
    enabled = true

    filters {
      blob_types   = ["blockBlob", "appendBlob"]
      prefix_match = ["synapse/"]
    }
    actions {
      base_blob {
        delete_after_days_since_modification_greater_than = 30
      }
    }
  }
}
