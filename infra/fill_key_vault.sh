#!/usr/bin/env bash
# Puts the connections that `terraform output` tells into Airflow's key vault, where its secrets backend finds them, and
# beside them, once, the key that signs verdicts. `--new-verdicts-key` puts a new one before those that there are.
# Needs az (signed in as one of operator_object_ids), terraform (or TERRAFORM=tofu) and python3.
set -euo pipefail
if [ "$#" -gt 1 ] || [ "${1:---new-verdicts-key}" != --new-verdicts-key ]; then
  echo "usage: $0 [--new-verdicts-key]" >&2
  exit 2
fi
new_key="${1:-}"
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

# The key stands in a private file for a moment: not in Terraform's state, on the screen or in a list of processes.
verdicts=airflow-connections-noria-verdicts
there="$(az keyvault secret list --vault-name "$vault" --query "[?name=='$verdicts'].name" --output tsv </dev/null)"
if [ -z "$there" ] || [ -n "$new_key" ]; then
  file="$(mktemp)"
  trap 'rm -f "$file"' EXIT
  if [ -n "$there" ]; then
    az keyvault secret show --vault-name "$vault" --name "$verdicts" --query value --output tsv </dev/null
  fi |
    python3 -c 'import json, secrets, sys
connection = json.loads(sys.stdin.read().strip() or "{\"conn_type\": \"generic\"}")
keys = [secrets.token_hex(32), *connection.get("password", "").split()]
print(json.dumps(connection | {"password": " ".join(keys)}), end="")' >"$file"
  az keyvault secret set --vault-name "$vault" --name "$verdicts" --file "$file" --encoding utf-8 \
    --content-type application/json --output none </dev/null
  echo "$verdicts"
fi
