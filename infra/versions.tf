terraform {
  required_version = ">= 1.9" # also OpenTofu

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 5.10"
    }
  }
}

provider "azurerm" {
  # Without it Cost Management cannot deliver its export into a storage account.
  resource_providers_to_register = ["Microsoft.CostManagementExports"]

  storage_use_azuread = true # no shared keys, so Terraform asks the storage accounts as the person who runs it

  features {
    key_vault {
      purge_soft_delete_on_destroy = false # purge protection forbids it
    }
    storage {
      data_plane_available = false # whoever deploys needs no role on the data
    }
  }
}

data "azurerm_client_config" "current" {}
