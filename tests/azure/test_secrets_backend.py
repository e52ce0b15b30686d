"""Airflow's connections out of the Key Vault, read by the provider's own back end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from noria.settings import Settings
from noria.verdicts import CONNECTION as VERDICTS
from noria.verdicts import Keyring
from tests.azure.twin.client import Twin
from tests.support.airflow import CHECKOUT  # and a home of its own, before anything imports Airflow

if TYPE_CHECKING:
    from airflow.secrets import BaseSecretsBackend

pytestmark = pytest.mark.slow


@pytest.fixture
def backend(twin: Twin) -> BaseSecretsBackend:
    """As Airflow makes it from its settings."""
    from airflow.sdk._shared.module_loading import import_string

    environment = twin.airflow_environment
    if "AIRFLOW__SECRETS__BACKEND" not in environment:
        pytest.skip("this subscription's connections are in no Key Vault")
    made = import_string(environment["AIRFLOW__SECRETS__BACKEND"])
    return made(**json.loads(environment["AIRFLOW__SECRETS__BACKEND_KWARGS"]))


def test_every_connection_of_azure_is_in_the_vault_and_no_variable(twin: Twin, backend: BaseSecretsBackend) -> None:
    assert not [name for name in twin.airflow_environment if name.startswith("AIRFLOW_CONN_")]
    names = [name for name in twin.environment if name.startswith("AIRFLOW_CONN_")]
    assert {"AIRFLOW_CONN_ADLS_DEFAULT", "AIRFLOW_CONN_NORIA_VERDICTS"} <= set(names)
    for name in names:
        conn_id = name.removeprefix("AIRFLOW_CONN_").lower()
        wanted = json.loads(twin.environment[name])
        found = backend.get_connection(conn_id)
        assert found is not None
        assert (found.conn_type, found.extra_dejson) == (wanted["conn_type"], wanted.get("extra", {}))
        assert found.password == wanted.get("password")


def test_the_key_that_signs_verdicts_is_watched_like_any_secret(twin: Twin, backend: BaseSecretsBackend) -> None:
    found = backend.get_connection(VERDICTS)
    assert found is not None and found.password
    assert set(Keyring.parse(found.password).keys) <= set(twin.planted_secrets)


def test_no_job_is_given_the_key_that_signs_verdicts(twin: Twin, tmp_path: Path) -> None:
    """Neither by its environment, nor by what Settings of that environment can find."""
    given = Settings.from_env(twin.environment, home=tmp_path)
    assert given.connection_password(VERDICTS)
    child = given.child_environment()
    assert not Settings.from_env(child).connection_text(VERDICTS)
    assert not [name for name, value in child.items() if given.connection_password(VERDICTS) in value]


def test_connection_that_is_not_in_the_vault_is_none(twin: Twin, backend: BaseSecretsBackend) -> None:
    assert backend.get_connection("nobody_knows") is None
    assert [r.status for r in twin.requests("vault", path="nobody-knows")][-1] == 404


def test_password_is_planted_and_in_no_record(twin: Twin, backend: BaseSecretsBackend) -> None:
    twin.secret("airflow-connections-github-default", json.dumps({"conn_type": "github", "password": "s3cret-of-hub"}))
    found = backend.get_connection("github_default")
    assert found is not None
    assert found.password == "s3cret-of-hub"
    assert not [r for r in twin.requests() if "s3cret" in str(r)]


def test_variables_and_settings_are_not_looked_for(twin: Twin, backend: BaseSecretsBackend) -> None:
    assert backend.get_variable("any") is None
    assert backend.get_config("any") is None
    assert twin.requests("vault") == []


def test_home_of_airflow_in_a_test_process_goes_with_it(tmp_path: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "NORIA_TEST_AIRFLOW"}
    script = "import os, tests.support.airflow; print(os.path.isdir(os.environ['AIRFLOW_HOME']))"
    environment = variables | {"TMPDIR": str(tmp_path)}
    said = subprocess.check_output([sys.executable, "-c", script], env=environment, cwd=CHECKOUT, text=True, timeout=60)
    assert said == "True\n"
    assert list(tmp_path.iterdir()) == []
