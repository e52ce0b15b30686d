"""Connections that Airflow does not find: absent, or kept back by a secrets backend that is in trouble."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, configuration
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowNotFoundException, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetConnection
from airflow.secrets import BaseSecretsBackend
from azure.core.exceptions import HttpResponseError, ServiceRequestError

from noria.airflow.connections import azure_connections, passwords, required_connection
from noria.airflow.operators import StageOperator
from noria.airflow.params import retrain_params
from noria.compute.process import JobProcess
from noria.errors import InputError, UnavailableError
from noria.pipeline import load_spec
from noria.records import STAGES
from noria.settings import CHECKOUT, Settings
from noria.workspace import Workspace

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


@pytest.mark.parametrize("stage", STAGES)
def test_the_key_that_signs_verdicts_reaches_those_that_decide_and_no_other_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """What goes through the pipe of each stage's job, and what the job could read in its environment."""
    key = "key-that-signs-" + "x" * 30
    TEXTS["noria_verdicts"] = json.dumps({"conn_type": "generic", "password": key})
    monkeypatch.setenv("AIRFLOW_CONN_NORIA_VERDICTS", TEXTS["noria_verdicts"])
    monkeypatch.setenv("NORIA_HOME", str(tmp_path))
    begun: list[JobProcess] = []

    def begin(job: JobProcess) -> str:
        begun.append(job)
        return "record"

    monkeypatch.setattr(JobProcess, "run", begin)
    settings = Settings.from_env()
    Workspace.open(settings).create_run("students", "r")
    with DAG("students__retrain", schedule=None) as dag:
        operator = StageOperator(stage=stage, pipeline="students")
    params = retrain_params(load_spec(CHECKOUT / "include" / "pipelines" / "students" / "pipeline.yaml"))
    dag.params = ParamsDict(params)
    operator.execute({"run_id": "r", "dag": dag, "params": dag.params.dump()})

    (job,) = begun
    assert (key in job._credentials.values()) == (stage in ("promote", "release", "report"))
    assert key not in str(settings.child_environment())
