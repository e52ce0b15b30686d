# Replace suffix, ids, addresses and mail by yours. terraform apply -var-file=environments/dev.tfvars
environment         = "dev"
location            = "westeurope"
suffix              = "abc123"
operator_object_ids = ["00000000-0000-0000-0000-000000000000"] # az ad signed-in-user show --query id
allowed_ip_ranges   = ["203.0.113.7/32"]                       # yours, and that of Airflow's workers

production_workspace = false
storage_replication  = "LRS"
spark_max_nodes      = 3
compute_vm_size      = "Standard_DS3_v2"
compute_vm_priority  = "LowPriority"
compute_max_nodes    = 2
log_retention_days   = 30
log_daily_gb         = 1
budget_amount        = 100
budget_emails        = ["you@example.com"]
