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


def test_nothing_of_it_is_run_by_default() -> None:
    said = run({}, "-m", "not azure_live", "--collect-only", DOCTOR)
    assert said.returncode == 0, said.stdout
    assert "deselected" not in said.stdout


def test_the_suite_runs_on_what_the_file_names(twin: Twin, tmp_path: Path) -> None:
    own, root = twin.environment, twin.lake_url()
    file = tmp_path / "env"
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in (own | {"NORIA_LAKE_URL": root}).items()]
    file.write_text("".join(lines))
    # The certificate and the guard are for this test's sake: they have to be there when Python starts.
    start = {name: own[name] for name in ("PYTHONPATH", "NORIA_TWIN_GUARD", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")}
    wanted = "all_is_well or missing_unreadable or wrong_tenant or who_is_let_in"
    files = (DOCTOR, "tests/azure/test_twin.py")
    said = run(start | {"NORIA_AZURE_ENV": str(file)}, "-m", "azure_live", "-rs", "-k", wanted, *files)
    assert said.returncode == 0, said.stdout
    assert "2 passed, 1 skipped" in said.stdout, said.stdout
    assert "it needs 'set', which only the twin has" in said.stdout
    assert not twin.requests(method="POST")
    assert not list(open_lake(root, twin.connection("adls_default")).list("")), "what was left is removed"
