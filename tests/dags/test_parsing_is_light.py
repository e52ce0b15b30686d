"""The DAG processor and every task parse the DAG files: that must load no library of data science."""

from __future__ import annotations

import subprocess
import sys

from tests.support.airflow import CHECKOUT

HEAVY = (
    "pandas pyarrow numpy scipy pyspark mlflow great_expectations azure adlfs sklearn matplotlib xgboost optuna dask"
)
SCRIPT = f"""
import runpy, sys
import airflow.sdk.execution_time.task_runner
before = set(sys.modules)
for file in sys.argv[1:]:
    runpy.run_path(file)
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(new & set("{HEAVY}".split())))
"""


def test_dags_and_plugins_load_nothing_heavy() -> None:
    files = [*(CHECKOUT / "dags").glob("*.py"), *(CHECKOUT / "plugins").glob("*.py")]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *files], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    heavy = done.stdout.splitlines()[-1]
    assert heavy == "", f"parsing loads {heavy}: import it inside the function that needs it"
