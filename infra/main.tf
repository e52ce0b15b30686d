# Everything that NORIA_PROFILE=azure needs; docs/azure.md tells how to deploy it.
# Nothing here has a key or a password: every service is asked with an identity of Entra ID.

locals {
  name = "noria-${var.environment}-${var.suffix}"
  flat = "noria${var.environment}${var.suffix}" # where only letters and digits are allowed

  tags = {
    "noria:environment" = var.environment
    "noria:deployment"  = local.name
    "noria:managed-by"  = "terraform"
    "noria:component"   = "platform" # shared by all pipelines: what has noria:pipeline too is a run's own
  }

  # Each has a storage account, a key vault and an identity of its own.
  workspaces = toset(var.production_workspace ? ["ml", "models"] : ["ml"])
}

resource "azurerm_resource_group" "noria" {
  name     = local.name
  location = var.location
  tags     = local.tags
}

# Airflow: its tasks, its triggerer, its secrets backend. Attach it to the machine, or to the pods by workload identity.
resource "azurerm_user_assigned_identity" "airflow" {
  name                = "${local.name}-airflow"
  resource_group_name = azurerm_resource_group.noria.name
  location            = var.location
  tags                = local.tags
}

resource "azurerm_federated_identity_credential" "airflow" {
  count                     = var.workload_identity == null ? 0 : 1
  name                      = "airflow"
  user_assigned_identity_id = azurerm_user_assigned_identity.airflow.id
  issuer                    = var.workload_identity.issuer
  subject                   = var.workload_identity.subject
  audience                  = ["api://AzureADTokenExchange"]
}

# What runs on the training cluster.
resource "azurerm_user_assigned_identity" "jobs" {
  name                = "${local.name}-jobs"
  resource_group_name = azurerm_resource_group.noria.name
  location            = var.location
  tags                = local.tags
}

# Azure ML itself, for its own storage account, vault and images; it has no role on the lake or on Airflow's vault.
resource "azurerm_user_assigned_identity" "workspace" {
  for_each            = local.workspaces
  name                = "${local.name}-${each.key}"
  resource_group_name = azurerm_resource_group.noria.name
  location            = var.location
  tags                = local.tags
}
