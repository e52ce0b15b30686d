"""The switch from the twin to a subscription; the twin stands in for the subscription."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from noria.lake import open_lake
from noria.settings import CHECKOUT
from tests.azure.twin.client import Twin

pytestmark = pytest.mark.slow
BARE = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
DOCTOR = "tests/azure/test_doctor.py"
LIVEABLE = f"{DOCTOR}::test_connections_that_are_missing_unreadable_or_incomplete"


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments]
    return subprocess.run(command, env=BARE | environment, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# nothing but\nexport NORIA_LAKE_URL='abfss://lake@account.dfs.core.windows.net'\n")
    said = run({"NORIA_AZURE_ENV": str(file)}, "-m", "azure_live", "--collect-only", "tests/azure")
    assert said.returncode == pytest.ExitCode.USAGE_ERROR
    for name in ("AIRFLOW_CONN_ADLS_DEFAULT", "AIRFLOW_CONN_AZURE_SYNAPSE_DEFAULT", "AIRFLOW_CONN_AZUREML_DEFAULT"):
        assert name in said.stderr
    assert "NORIA_LAKE_URL" not in said.stderr
    assert "docs/azure.md" in said.stderr


def the_file(twin: Twin, folder: Path) -> dict[str, str]:
    """Variables of a shell that names a file with all that leads to this twin, as to a subscription."""
    file, own = folder / "env", twin.environment | {"NORIA_LAKE_URL": twin.lake_url()}
    file.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in own.items()))
    # The certificate and the guard are for these tests' sake: they have to be there when Python starts.
    start = {name: own[name] for name in ("PYTHONPATH", "NORIA_TWIN_GUARD", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")}
    return start | {"NORIA_AZURE_ENV": str(file), "NORIA_LAKE_URL": own["NORIA_LAKE_URL"]}


def test_a_plain_run_leaves_the_subscription_alone(twin: Twin, tmp_path: Path) -> None:
    """Though everything that leads there is set, for the file and for the shell."""
    said = run(twin.environment | the_file(twin, tmp_path), LIVEABLE)
    assert said.returncode == 0, said.stdout
    assert "1 passed" in said.stdout and "deselected" not in said.stdout
    assert not twin.requests()


def test_the_suite_runs_on_what_the_file_names(twin: Twin, tmp_path: Path) -> None:
    found = the_file(twin, tmp_path)
    wanted = "missing_unreadable or full_quota_and or who_is_let_in or a_new_registry or went_well"
    files = (DOCTOR, "tests/azure/test_twin.py", "tests/azure/test_lake_faults.py", "tests/contract/test_registry.py")
    said = run(found, "-m", "azure_live", "-rs", "-k", wanted, *files)
    assert said.returncode == 0, said.stdout
    assert "3 passed, 1 skipped" in said.stdout, said.stdout
    assert "it needs 'set', which only the twin has" in said.stdout
    assert not twin.requests(method="POST")
    assert not list(open_lake(found["NORIA_LAKE_URL"], twin.connection("adls_default")).list("")), (
        "what was left is removed"
    )
