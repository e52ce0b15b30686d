"""`pytest -m azure_live`: the tests of tests/azure against a real subscription instead of the twin.

A pytest plugin. It is asleep unless the marker is asked for; then every test that uses the twin is given the marker,
and `Live` in the twin's place. What only a twin can do (faults, records of requests) skips the test.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from noria.azure import CONNECTIONS, LAKE, ML, SYNAPSE, AzureConnection
from noria.errors import StorageError
from noria.lake import open_lake
from noria.settings import CHECKOUT
from noria.verdicts import CONNECTION as VERDICTS

VARIABLE = "NORIA_AZURE_ENV"
"""Names another file than .env.azure."""
BACKEND = "AIRFLOW__SECRETS__BACKEND"
ALL = (*CONNECTIONS, VERDICTS)
NEEDED = (LAKE, SYNAPSE, ML, VERDICTS)
OF_A_CONTRACT = {"back_end": "abfs", "place": "azureml"}
"""Parameters of contracts for several back ends, and what of them is Azure's."""
SLOWER = 30
"""A pool of Spark and a cluster's nodes take minutes to start, and an image is built once."""
LEASE_SECONDS = 45
OF_THE_TWIN = {"test_twin.py", "test_control_plane.py", "test_live.py"}
"""Files whose tests say something of the twin itself."""
SECRETS = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_PASSWORD")
"""Variables of azure.identity."""


class Live:
    """A subscription, in the place of a `Twin`.

    Attributes:
        environment: What a process needs, connections included as variables.
        airflow_environment: The same for Airflow; with the connections in the secrets backend, if there is one.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.environment = dict(variables)
        backend = BACKEND in variables
        self.airflow_environment = {
            name: value for name, value in variables.items() if not (backend and name.startswith("AIRFLOW_CONN_"))
        }
        self._folder = f"azure-live/{uuid.uuid4().hex[:12]}"
        self._root = variables["NORIA_LAKE_URL"].rstrip("/")

    def connection(self, conn_id: str) -> AzureConnection:
        """One of its connections."""
        return AzureConnection.parse(conn_id, self.environment[_variable(conn_id)])

    def lake_url(self, folder: str | None = None) -> str:
        """A folder of the lake, a new one if none is named; all of them are removed in the end."""
        return f"{self._root}/{self._folder}/{folder or uuid.uuid4().hex[:12]}"

    @property
    def planted_secrets(self) -> list[str]:
        """Secrets that the variables hold."""
        found = [self.environment.get(name, "") for name in SECRETS]
        for conn_id in ALL:
            if _variable(conn_id) in self.environment:
                connection = self.connection(conn_id)
                found += [
                    *connection.password.split(),
                    connection.get("connection_string"),
                    connection.get("certificate_data"),
                ]
        return [secret for secret in found if secret]

    @contextlib.contextmanager
    def living(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        """Its variables in os.environ for the length of a context; nothing stands guard."""
        for name, value in self.environment.items():
            patch.setenv(name, value)
        yield

    def secret(self, name: str, value: str) -> None:
        """A connection for tests; as a variable, since the vault of a subscription is left as it is."""
        conn_id = name.removeprefix("airflow-connections-").replace("-", "_")
        self.airflow_environment[_variable(conn_id)] = value

    def reset(self) -> None:
        """Nothing was set."""

    def remove(self) -> None:
        """What the tests have left in the lake."""
        end = time.monotonic() + LEASE_SECONDS
        with pytest.MonkeyPatch.context() as patch, self.living(patch):
            lake = open_lake(self._root, self.connection(LAKE))
            while True:
                try:
                    return lake.remove(self._folder)
                except StorageError:  # somebody who was killed still holds a lock
                    if time.monotonic() > end:
                        raise
                    time.sleep(2)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        pytest.skip(f"it needs {name!r}, which only the twin has: a subscription cannot be told to misbehave")


class LiveFixtures:
    """Takes the place of the twin's fixtures."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    @pytest.fixture(scope="session")
    def twin_process(self) -> Iterator[Live]:
        """The subscription."""
        live = Live(self._variables)
        yield live
        live.remove()

    @pytest.fixture
    def twin(self, twin_process: Live, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
        """The subscription, with its variables in os.environ."""
        with twin_process.living(monkeypatch):
            yield twin_process


def pytest_configure(config: pytest.Config) -> None:
    if not is_wanted(config):
        return
    variables = _with_connections(_variables())
    names = ("NORIA_LAKE_URL", *map(_variable, NEEDED))
    if missing := [name for name in names if not variables.get(name)]:
        raise pytest.UsageError(
            f"azure_live: {', '.join(missing)} not set. Copy .env.azure.example to .env.azure and fill it; "
            "see docs/azure.md, The tests against a subscription."
        )
    config.pluginmanager.register(LiveFixtures(variables), "azure-live-fixtures")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not is_wanted(config):
        return
    for item in items:
        if item.path.name not in OF_THE_TWIN and _uses_the_twin(item):
            item.add_marker("azure_live")
            item.add_marker(pytest.mark.timeout(SLOWER * 300))


def _uses_the_twin(item: pytest.Item) -> bool:
    """Whether it names the twin, or is the part of a contract for several back ends that needs it."""
    params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    if any(params.get(name) == value for name, value in OF_A_CONTRACT.items()):
        return True
    return bool({"twin", "twin_process"} & set(getattr(item, "fixturenames", ())))


def patience(twin: object, seconds: float) -> float:
    """How long to wait where the twin needs so many seconds."""
    return seconds * SLOWER if isinstance(twin, Live) else seconds


def is_wanted(config: pytest.Config) -> bool:
    """Whether the marker is asked for."""
    return re.search(r"(?<!not )\bazure_live\b", config.option.markexpr or "") is not None


def _variable(conn_id: str) -> str:
    return f"AIRFLOW_CONN_{conn_id.upper()}"


def _variables() -> dict[str, str]:
    """Those of this process, which win, and the file's; the profile is always `azure`."""
    file = Path(os.environ.get(VARIABLE) or CHECKOUT / ".env.azure")
    found: dict[str, str] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        words = shlex.split(line, comments=True)
        for word in words[1:] if words[:1] == ["export"] else words:
            name, is_assignment, value = word.partition("=")
            found |= {name: value} if is_assignment else {}
    return {**found, **os.environ, "NORIA_PROFILE": "azure"}


def _with_connections(variables: dict[str, str]) -> dict[str, str]:
    """With the connections that only the secrets backend has."""
    lacking = [conn_id for conn_id in ALL if not variables.get(_variable(conn_id))]
    if not lacking or not variables.get(BACKEND):
        return variables
    command = [sys.executable, "-m", "noria.airflow.secrets_backend", *lacking]
    child = subprocess.run(command, env=variables, stdout=subprocess.PIPE, check=True)
    answer: dict[str, Any] = json.loads(child.stdout)
    if answer["error"]:
        raise pytest.UsageError(f"azure_live: {answer['error']} {answer['remedy']}")
    return variables | {_variable(conn_id): text for conn_id, text in answer["texts"].items()}
