#!/usr/bin/env bash
# Puts the connections that `terraform output` tells into Airflow's key vault, where its secrets backend finds them.
# Needs az (signed in as one of operator_object_ids), terraform (or TERRAFORM=tofu) and python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
terraform="${TERRAFORM:-terraform}"

vault="$("$terraform" output -raw key_vault)"
connections="$("$terraform" output -json connections)"
python3 -c 'import json, sys; [print(i.replace("_", "-"), text, sep="\t") for i, text in json.loads(sys.argv[1]).items()]' \
  "$connections" |
  while IFS=$'\t' read -r name text; do
    az keyvault secret set --vault-name "$vault" --name "airflow-connections-$name" --value "$text" \
      --content-type application/json --output none </dev/null
    echo "airflow-connections-$name"
  done
