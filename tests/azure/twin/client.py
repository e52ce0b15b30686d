"""What tests hold of the twin: its environment, its faults, its records."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from noria.azure import AzureConnection
from tests.azure.twin.state import CHECKOUT, TOKEN_HEADER, Fault, Seen

STOP_SECONDS = 30
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Twin:
    """A running twin.

    Attributes:
        environment: What a process needs to live on it, connections included as variables.
        airflow_environment: The same for Airflow, with the connections in the Key Vault.
        connection_string: Of the storage account, with its key; the environment does not have it.
        token: What steers it; who has it can have commands run.
        folder: Its state and logs.
        guard_file: What the guard refused, a line each: what, and which process.
    """

    def __init__(self, process: subprocess.Popen[str], control: str, token: str, folder: Path) -> None:
        self.process, self.folder, self._control, self.token = process, folder, control, token
        facts = self._get("facts")
        self.environment: dict[str, str] = facts["environment"]
        self.airflow_environment: dict[str, str] = facts["airflow_environment"]
        self.connection_string: str = facts["connection_string"]
        self._lake_url: str = facts["lake_url"]
        self._urls: dict[str, str] = facts["urls"]
        self.guard_file = Path(self.environment["NORIA_TWIN_GUARD"])

    @classmethod
    @contextlib.contextmanager
    def start(cls, folder: Path) -> Iterator[Twin]:
        """Start one for the length of a context.

        Raises:
            RuntimeError: It did not start; its own words are in the message.
        """
        folder.mkdir(parents=True, exist_ok=True)
        log_file = folder / "server.log"
        with log_file.open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.azure.twin", "--serve", "--folder", folder],
                cwd=CHECKOUT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            if not said:
                raise RuntimeError(f"the twin did not start (exit code {process.wait()}):\n{log_file.read_text()}")
            yield cls(process, **json.loads(said), folder=folder)
        finally:
            assert process.stdin is not None
            process.stdin.close()  # that ends it
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def connection(self, conn_id: str) -> AzureConnection:
        """One of its connections."""
        return AzureConnection.parse(conn_id, self.environment[f"AIRFLOW_CONN_{conn_id.upper()}"])

    def lake_url(self, folder: str | None = None) -> str:
        """A folder of the lake, a new one if none is named."""
        return f"{self._lake_url}/{folder or uuid.uuid4().hex[:12]}"

    def url(self, service: str) -> str:
        """Base address of a service, without a slash at its end."""
        return self._urls[service]

    def fault(self, service: str, **how: Any) -> None:
        """Mistreat requests from now on; `how` is what state.Fault says."""
        told = asdict(Fault(service, **how))
        self._post("faults", {k: v for k, v in told.items() if k != "begun"})

    def set(self, service: str, **knobs: Any) -> None:
        """Misbehaviour that only this service knows."""
        self._post("knobs", {"service": service, "knobs": knobs})

    def secret(self, name: str, value: str) -> None:
        """Put a secret into the Key Vault."""
        self._post("secrets", {"name": name, "value": value})

    def requests(self, service: str | None = None, method: str | None = None, path: str | None = None) -> list[Seen]:
        """What came since the last reset, oldest first; `path` is searched in path?query."""
        query = {"service": service, "method": method, "path": path}
        return [Seen(**seen) for seen in self._get("requests", **{k: v for k, v in query.items() if v is not None})]

    @property
    def planted_secrets(self) -> list[str]:
        """Every secret that the twin has handed out or was given; none of them belongs into a log."""
        return list(self._get("planted"))

    def reset(self) -> None:
        """Forget faults, knobs, records and secrets of tests."""
        self._post("reset", {})

    def wrong_bodies(self) -> list[str]:
        """What the control plane of Azure ML found wrong in requests since the last call."""
        file = self.folder / "ml" / "wrong_bodies.txt"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    def refused(self) -> list[str]:
        """What the guard refused since the last call."""
        if not self.guard_file.exists():
            return []
        lines = self.guard_file.read_text().splitlines()
        self.guard_file.unlink()
        return lines

    def _get(self, what: str, **query: str) -> Any:
        with self._ask(f"{what}?{urllib.parse.urlencode(query)}") as answer:
            return json.load(answer)

    def _post(self, what: str, facts: Mapping[str, Any]) -> None:
        with self._ask(what, data=json.dumps(facts).encode(), method="POST"):
            pass

    def _ask(self, what: str, **request: Any) -> Any:
        headers = {TOKEN_HEADER: self.token, "Content-Type": "application/json"}
        url = f"{self._control}/_twin/{what}"
        return _direct.open(urllib.request.Request(url, headers=headers, **request), timeout=30)
