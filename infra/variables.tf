variable "environment" {
  description = "dev or prod; part of every name and tag."
  type        = string

  validation {
    condition     = contains(["dev", "prod"], var.environment)
    error_message = "environment is dev or prod."
  }
}

variable "location" {
  description = "Azure region, such as westeurope. All resources are in one: traffic between regions costs money."
  type        = string
}

variable "suffix" {
  description = "Makes the names that are unique in all of Azure (storage accounts, vaults, workspaces) yours."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]{3,6}$", var.suffix))
    error_message = "suffix is 3 to 6 lower-case letters and digits."
  }
}

variable "operator_object_ids" {
  description = "Entra ID object ids (best: one group) of those who put connections into the key vault."
  type        = set(string)
}

variable "developer_object_ids" {
  description = "Entra ID object ids of people who get Airflow's roles, to run Noria where they sit; none if not said."
  type        = set(string)
  default     = []
}

variable "allowed_ip_ranges" {
  description = "IPv4 ranges (CIDR) that reach the key vault and Synapse: Airflow's workers and whoever runs Terraform."
  type        = list(string)

  validation {
    condition     = length(var.allowed_ip_ranges) > 0 && alltrue([for r in var.allowed_ip_ranges : can(cidrhost(r, 0))])
    error_message = "allowed_ip_ranges is a list such as [\"203.0.113.7/32\"]."
  }
  validation {
    condition     = !contains([for range in var.allowed_ip_ranges : endswith(range, "/0")], true)
    error_message = "allowed_ip_ranges must not be the whole internet."
  }
}

variable "workload_identity" {
  description = "For Airflow on Kubernetes: the cluster's OIDC issuer and system:serviceaccount:NAMESPACE:NAME."
  type        = object({ issuer = string, subject = string })
  default     = null
}

variable "production_workspace" {
  description = "Whether promoted models go to an Azure ML workspace of their own."
  type        = bool
}

variable "storage_replication" {
  description = "How often, and how far apart, Azure keeps the bytes: LRS, ZRS or GRS."
  type        = string

  validation {
    condition     = contains(["LRS", "ZRS", "GRS"], var.storage_replication)
    error_message = "storage_replication is LRS, ZRS or GRS."
  }
}

variable "spark_max_nodes" {
  description = "Nodes that the Spark pool may grow to; it starts with three, the fewest there can be."
  type        = number

  validation {
    condition     = var.spark_max_nodes >= 3 && var.spark_max_nodes <= 200
    error_message = "spark_max_nodes is 3 to 200."
  }
}

variable "compute_vm_size" {
  description = "Machine of the training cluster."
  type        = string
}

variable "compute_vm_priority" {
  description = "Dedicated, or LowPriority: a fraction of the price, and Azure may take the machine back."
  type        = string

  validation {
    condition     = contains(["Dedicated", "LowPriority"], var.compute_vm_priority)
    error_message = "compute_vm_priority is Dedicated or LowPriority."
  }
}

variable "compute_max_nodes" {
  description = "Nodes that the training cluster may grow to from none."
  type        = number
}

variable "log_retention_days" {
  description = "How long Log Analytics keeps what the services tell; 30 are free."
  type        = number

  validation {
    condition     = var.log_retention_days >= 30 && var.log_retention_days <= 730
    error_message = "log_retention_days is 30 to 730."
  }
}

variable "log_daily_gb" {
  description = "What Log Analytics takes in a day at most, in GB, so that logs never become the largest bill."
  type        = number
}

variable "budget_amount" {
  description = "Monthly budget in the currency of the subscription; mail at 50, 80 and 100 %. It stops nothing."
  type        = number
}

variable "budget_emails" {
  description = "Who gets these mails."
  type        = list(string)

  validation {
    condition     = length(var.budget_emails) > 0 && alltrue([for mail in var.budget_emails : strcontains(mail, "@")])
    error_message = "budget_emails names at least one address."
  }
}
