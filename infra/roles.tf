# Who may do what, and which call needs it: the whole list. docs/azure.md shows the same; a test compares the two.

locals {
  # Airflow's roles, and for whom: its identity, and people who run Noria where they sit.
  users = merge(
    { airflow = azurerm_user_assigned_identity.airflow.principal_id },
    { for id in var.developer_object_ids : "developer_${id}" => id },
  )
  jobs = azurerm_user_assigned_identity.jobs.principal_id
  lake = azurerm_storage_container.container["lake"].id

  grants = merge(
    { for user, id in local.users : "${user}_lake" => {
      principal = id, role = "Storage Blob Data Contributor", scope = local.lake
      why       = "Reads, exclusive creates and leases of the lake; a Spark batch runs as whoever submitted it."
    } },
    { for user, id in local.users : "${user}_vault" => {
      principal = id, role = "Key Vault Secrets User", scope = azurerm_key_vault.vault["airflow"].id
      why       = "Airflow's secrets backend reads connections."
    } },
    { for pair in setproduct(keys(local.users), local.workspaces) : "${pair[0]}_storage_${pair[1]}" => {
      principal = local.users[pair[0]], role = "Storage Blob Data Contributor"
      scope     = azurerm_storage_account.account[pair[1]].id
      why       = "Uploads a job's code or a promoted model, downloads a model; the containers are named by Azure ML."
    } },
    { for user, id in local.users : "${user}_costs" => {
      principal = id, role = "Cost Management Contributor", scope = azurerm_resource_group.noria.id
      why       = "Makes and runs the export of what this deployment costs, asks for costs, keeps the pipelines' budgets."
    } },
    { for user, id in local.users : "${user}_exports" => {
      principal = id, role = "Storage Account Contributor", scope = azurerm_storage_account.account["lake"].id
      why       = "Cost Management asks whoever makes an export for leave to write the account where it delivers."
    } },
    {
      jobs_lake = {
        principal = local.jobs, role = "Storage Blob Data Contributor", scope = local.lake
        why       = "python -m noria.jobs.train reads the snapshot and writes the model and its record."
      }
      jobs_storage = {
        principal = local.jobs, role = "Storage Blob Data Contributor", scope = azurerm_storage_account.account["ml"].id
        why       = "The cluster fetches the code snapshot and writes logs; the containers are named by Azure ML."
      }
      jobs_images = {
        principal = local.jobs, role = "AcrPull", scope = azurerm_container_registry.images.id
        why       = "The cluster pulls the environment's image."
      }
      synapse_storage = {
        principal = azurerm_synapse_workspace.noria.identity[0].principal_id
        role      = "Storage Blob Data Contributor", scope = azurerm_storage_container.container["synapse"].id
        why       = "The workspace's own file system: Spark's event logs."
      }
    },
    { for name in local.workspaces : "workspace_storage_${name}" => {
      principal = azurerm_user_assigned_identity.workspace[name].principal_id
      role      = "Contributor", scope = azurerm_storage_account.account[name].id
      why       = "Azure ML manages its containers; Microsoft asks for this role."
    } },
    { for name in local.workspaces : "workspace_blobs_${name}" => {
      principal = azurerm_user_assigned_identity.workspace[name].principal_id
      role      = "Storage Blob Data Contributor", scope = azurerm_storage_account.account[name].id
      why       = "Azure ML reads and writes its datastores by identity."
    } },
    { for name in local.workspaces : "workspace_vault_${name}" => {
      principal = azurerm_user_assigned_identity.workspace[name].principal_id
      role      = "Contributor", scope = azurerm_key_vault.vault[name].id
      why       = "Azure ML manages its vault; Microsoft asks for this role."
    } },
    { for name in local.workspaces : "workspace_secrets_${name}" => {
      principal = azurerm_user_assigned_identity.workspace[name].principal_id
      role      = "Key Vault Administrator", scope = azurerm_key_vault.vault[name].id
      why       = "Azure ML keeps the credentials of its datastores there; Microsoft asks for this role."
    } },
    { for name in local.workspaces : "workspace_images_${name}" => {
      principal = azurerm_user_assigned_identity.workspace[name].principal_id
      role      = "Contributor", scope = azurerm_container_registry.images.id
      why       = "Azure ML builds images and pushes them; Microsoft asks for this role."
    } },
    { for name in local.workspaces : "workspace_insights_${name}" => {
      principal = azurerm_user_assigned_identity.workspace[name].principal_id
      role      = "Contributor", scope = azurerm_application_insights.ml.id
      why       = "Azure ML writes telemetry; Microsoft asks for this role."
    } },
    { for id in var.operator_object_ids : "operator_${id}" => {
      principal = id, role = "Key Vault Secrets Officer", scope = azurerm_key_vault.vault["airflow"].id
      why       = "infra/fill_key_vault.sh writes connections."
    } },
  )

  # These need the workspaces, which need the roles above.
  workspace_grants = { for pair in setproduct(keys(local.users), local.workspaces) : join("_", pair) => {
    principal = local.users[pair[0]], role = "AzureML Data Scientist"
    scope     = azurerm_machine_learning_workspace.workspace[pair[1]].id
    why       = "Submits, follows and cancels jobs, registers environments and models. The narrowest role there is."
  } }
}

resource "azurerm_role_assignment" "grant" {
  for_each             = local.grants
  principal_id         = each.value.principal
  role_definition_name = each.value.role
  scope                = each.value.scope
  description          = each.value.why
}

resource "azurerm_role_assignment" "workspace_grant" {
  for_each             = local.workspace_grants
  principal_id         = each.value.principal
  role_definition_name = each.value.role
  scope                = each.value.scope
  description          = each.value.why
}

# Submit, follow and cancel Spark batches on this pool and read their logs. Synapse keeps roles of its own.
resource "azurerm_synapse_role_assignment" "pool" {
  for_each              = local.users
  synapse_spark_pool_id = azurerm_synapse_spark_pool.noria.id
  role_name             = "Synapse Compute Operator"
  principal_id          = each.value
  principal_type        = each.key == "airflow" ? "ServicePrincipal" : "User"

  depends_on = [azurerm_synapse_firewall_rule.allowed] # the workspace itself is asked, through its firewall
}
