# terraform test -var-file=environments/dev.tfvars: the whole deployment against a provider that only pretends.
# What must hold of it is asserted by tests/unit/infra, which reads this run's state.
mock_provider "azurerm" {
  mock_resource "azurerm_synapse_workspace" {
    defaults = {
      connectivity_endpoints = { dev = "https://noria.dev.azuresynapse.net" }
      identity               = { principal_id = "00000000-0000-0000-0000-00000000005a" }
    }
  }
}

run "everything_is_made" {
  command = apply

  assert {
    condition     = length(output.connections) == (var.production_workspace ? 5 : 4)
    error_message = "One connection for the lake, one for Spark, one for the costs, one for each Azure ML workspace."
  }
}
