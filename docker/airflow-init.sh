#!/usr/bin/env bash
# Runs once before the other Airflow services: the metadata database, and the password of the user `admin`.
set -euo pipefail

airflow db migrate

python - <<'END'
"""Write the password file of Airflow's simple auth manager, readable by its owner alone."""
import json
import os
from pathlib import Path

file = Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
draft = file.with_suffix(".new")
with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
    json.dump({"admin": os.environ["ADMIN_PASSWORD"]}, stream)
draft.replace(file)
END
