"""`python -m noria.airflow.secrets_backend CONN_ID…`: what Airflow's secrets backend holds, for `noria doctor`.

Airflow itself takes a backend that refuses for one that has nothing, and says so in no log that a person sees. So the
backend is asked directly here. The answer is one line of JSON on standard output, secrets and all: it is for a pipe.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from noria.azure.errors import Service, explained
from noria.azure.redact import without_secrets
from noria.errors import NoriaError


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
