"""Connections that Airflow does not find: absent, or kept back by a secrets backend that is in trouble."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk import configuration
from airflow.sdk.exceptions import AirflowNotFoundException, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetConnection
from airflow.secrets import BaseSecretsBackend
from azure.core.exceptions import HttpResponseError, ServiceRequestError

from noria.airflow.connections import azure_connections, passwords, required_connection
from noria.errors import InputError, UnavailableError
from noria.settings import Settings

KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
TROUBLE: list[Exception] = []
TEXTS: dict[str, str] = {}


class Vault(BaseSecretsBackend):
    """Raises what is in TROUBLE, one after the other, and then gives what is in TEXTS."""

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> str | None:
        if TROUBLE and conn_id == "azureml_production":
            raise TROUBLE.pop(0)
        return TEXTS.get(conn_id)


@pytest.fixture(autouse=True)
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", f"{__name__}.Vault")
    configuration._secrets_backend_cache.clear()
    TEXTS["azureml_default"] = json.dumps({"conn_type": "azure", "extra": {"workspace": "development"}})
    yield
    configuration._secrets_backend_cache.clear()
    TROUBLE.clear()
    TEXTS.clear()


@pytest.fixture
def settings() -> Settings:
    return Settings.from_env({"NORIA_PROFILE": "azure", "NORIA_LAKE_URL": "abfss://lake@account.dfs.core.windows.net"})


def test_a_connection_that_no_backend_has_is_absent(settings: Settings) -> None:
    assert list(azure_connections(settings)) == ["azureml_default"]
    with pytest.raises(InputError, match="no connection azureml_production"):
        required_connection("azureml_production")


@pytest.mark.parametrize(
    "trouble",
    [
        HttpResponseError("(Throttled) Too many requests"),
        ServiceRequestError("Temporary failure in name resolution"),
        RuntimeError(f"AccountKey={KEY}"),
    ],
    ids=["throttled", "no name", "any other"],
)
def test_a_backend_in_trouble_takes_no_connection_away(settings: Settings, trouble: Exception) -> None:
    TEXTS["azureml_production"] = json.dumps({"conn_type": "azure", "extra": {"workspace": "production"}})
    for ask in (azure_connections, lambda _: required_connection("azureml_production")):
        TROUBLE[:] = [trouble, trouble]
        with pytest.raises(UnavailableError, match=r"Vault does not say .*azureml_production") as caught:
            ask(settings)
        assert caught.value.retryable and KEY not in str(caught.value)
    assert list(azure_connections(settings)) == ["azureml_default", "azureml_production"]


def test_trouble_that_has_just_passed_takes_none_away_either(settings: Settings) -> None:
    TEXTS["azureml_production"] = json.dumps({"conn_type": "azure", "password": "of-production"})
    TROUBLE[:] = [TimeoutError()]
    with pytest.raises(UnavailableError, match="when it was asked first"):
        passwords(("azureml_production",))
    assert passwords(("azureml_production",)) == {"azureml_production": "of-production"}


@pytest.mark.parametrize("error", [ErrorType.CONNECTION_NOT_FOUND, ErrorType.API_SERVER_ERROR])
def test_so_it_is_with_the_api_server(settings: Settings, monkeypatch: pytest.MonkeyPatch, error: ErrorType) -> None:
    class Supervisor:
        def send(self, message: Any) -> ErrorResponse:
            assert isinstance(message, GetConnection)
            return ErrorResponse(error=error)

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Supervisor(), raising=False)
    if error is ErrorType.CONNECTION_NOT_FOUND:
        assert list(azure_connections(settings)) == ["azureml_default"]
    else:
        with pytest.raises(UnavailableError, match=r"adls_default .*API_SERVER_ERROR"):
            azure_connections(settings)


def test_airflow_itself_takes_trouble_for_absence() -> None:
    """Why all this is needed; where it fails, `confirm_absent` can go."""
    from airflow.sdk import BaseHook

    TROUBLE[:] = [RuntimeError("away")]
    with pytest.raises(AirflowNotFoundException):
        BaseHook.get_connection("azureml_production")
