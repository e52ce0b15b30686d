"""Airflow's connections out of the Key Vault, read by the provider's own back end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import tests.support.airflow  # noqa: F401  a home of its own, before anything imports Airflow
from tests.azure.twin.client import Twin

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
    assert "AIRFLOW_CONN_ADLS_DEFAULT" in names
    for name in names:
        conn_id = name.removeprefix("AIRFLOW_CONN_").lower()
        wanted = json.loads(twin.environment[name])
        found = backend.get_connection(conn_id)
        assert found is not None
        assert (found.conn_type, found.extra_dejson) == (wanted["conn_type"], wanted.get("extra", {}))


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
