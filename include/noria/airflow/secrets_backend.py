"""What Airflow's secrets backends hold, asked of them directly.

Airflow itself takes a backend that refuses for one that has nothing, and says so in no log that a person sees. So tasks
ask again here before they go on without a connection.

`python -m noria.airflow.secrets_backend CONN_ID…` is for `noria doctor`. The answer is one line of JSON on standard
output, secrets and all: it is for a pipe.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from noria.azure.errors import Service, explained
from noria.azure.redact import without_secrets
from noria.errors import NoriaError, UnavailableError


def confirm_absent(conn_id: str) -> None:
    """Make sure that there is no such connection, once Airflow has found none.

    Raises:
        UnavailableError: A backend refuses or does not answer, or has it by now.
    """
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    for backend in ensure_secrets_backend_loaded():
        place = _describe(backend)
        try:
            with explained(place, Service.VAULT):
                is_there = _has(backend, conn_id)
        except Exception as error:  # a backend is somebody else's code
            said = str(error) if isinstance(error, NoriaError) else f"{type(error).__name__}: {error}"
            raise UnavailableError(
                f"{place} does not say whether there is a connection {conn_id} ({without_secrets(said)})",
                remedy="The task tries again; if it does not pass, noria doctor says more.",
            ) from None
        if is_there:
            raise UnavailableError(f"{place} did not give the connection {conn_id} when it was asked first")


def _has(backend: Any, conn_id: str) -> bool:
    from airflow.sdk.execution_time.secrets.execution_api import ExecutionAPISecretsBackend

    if not isinstance(backend, ExecutionAPISecretsBackend):
        return backend.get_connection(conn_id=conn_id) is not None
    # It takes every answer but a connection for "no", so what it asks is asked here.
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse, GetConnection
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    answer = SUPERVISOR_COMMS.send(GetConnection(conn_id=conn_id))
    if not isinstance(answer, ErrorResponse):
        return True
    if answer.error is not ErrorType.CONNECTION_NOT_FOUND:
        raise ConnectionError(f"Airflow's API server: {answer.error.value}")
    return False


def ask(conn_ids: list[str]) -> dict[str, Any]:
    """The backend's name, the connections that it has as text, and what it refused."""
    answer: dict[str, Any] = {"name": "secrets backend", "texts": {}, "error": "", "remedy": ""}
    try:
        from airflow.configuration import get_custom_secret_backend

        backend = get_custom_secret_backend()
        if backend is None:
            return answer | {"error": "AIRFLOW__SECRETS__BACKEND names no class that can be made"}
        answer["name"] = _describe(backend)
        with explained(answer["name"], Service.VAULT):
            found = {conn_id: backend.get_conn_value(conn_id) for conn_id in conn_ids}
    except NoriaError as error:
        return answer | {"error": str(error).removesuffix(error.remedy).strip(), "remedy": error.remedy}
    except Exception as error:  # a backend is somebody else's code, and Airflow imports nothing without it
        return answer | {"error": without_secrets(f"{answer['name']}: {type(error).__name__}: {error}")}
    return answer | {"texts": {conn_id: text for conn_id, text in found.items() if text}}


def _describe(backend: object) -> str:
    place = getattr(backend, "vault_url", "")
    return f"key vault {place}" if place else type(backend).__name__


def main() -> None:
    """Answer on standard output, which nothing else may write to."""
    answer_fd = os.dup(1)
    os.dup2(2, 1)
    os.write(answer_fd, json.dumps(ask(sys.argv[1:])).encode() + b"\n")


if __name__ == "__main__":
    main()
