# Replace suffix, ids, addresses and mail by yours. terraform apply -var-file=environments/prod.tfvars
environment         = "prod"
location            = "westeurope"
suffix              = "abc123"
operator_object_ids = ["00000000-0000-0000-0000-000000000000"] # a group, so that people change without Terraform
allowed_ip_ranges   = ["203.0.113.7/32"]                       # yours, and that of Airflow's workers

production_workspace = true
storage_replication  = "ZRS"
spark_max_nodes      = 10
compute_vm_size      = "Standard_DS3_v2"
compute_vm_priority  = "Dedicated"
compute_max_nodes    = 4
log_retention_days   = 90
log_daily_gb         = 5
budget_amount        = 1000
budget_emails        = ["you@example.com"]
