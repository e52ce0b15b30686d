"""An MLflow server for the twin's jobs: started with the first of them, on SQLite, on loopback."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.azure.twin.state import TwinState

START_SECONDS = 120
QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class MlflowServer:
    """MLflow's own server, and the few calls that a control plane makes of it."""

    def __init__(self, state: TwinState, folder: Path) -> None:
        self._state, self._folder = state, folder
        self._lock, self._experiments = threading.Lock(), threading.Lock()
        self._url = ""

    @property
    def url(self) -> str:
        """Where it is; it is started if it is not there."""
        with self._lock:
            if not self._url:
                self._url = self._start()
        return self._url

    def start(self) -> None:
        """Start it without waiting for it."""
        threading.Thread(target=lambda: self.url, daemon=True).start()

    def create_run(self, experiment: str, name: str, tags: dict[str, str]) -> str:
        """A new run; its id."""
        experiment_id = self._experiment(experiment)
        tags = {**tags, "mlflow.runName": name}
        body = {
            "experiment_id": experiment_id,
            "start_time": round(time.time() * 1000),
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        return str(self._call("runs/create", body=body)["run"]["info"]["run_id"])

    def end_run(self, run_id: str, status: str) -> None:
        """Close a run: FINISHED, FAILED or KILLED."""
        body = {"run_id": run_id, "status": status, "end_time": round(time.time() * 1000)}
        self._call("runs/update", body=body)

    def history(self, run_id: str, metric: str) -> list[float]:
        """Values of a metric in the order in which they were logged."""
        found = self._call("metrics/get-history", {"run_id": run_id, "metric_key": metric})
        return [m["value"] for m in found.get("metrics", [])]

    def _experiment(self, name: str) -> str:
        with self._experiments:
            found = self._call("experiments/get-by-name", {"experiment_name": name})
            if "experiment" in found:
                return str(found["experiment"]["experiment_id"])
            return str(self._call("experiments/create", body={"name": name})["experiment_id"])

    def _start(self) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._folder.mkdir(parents=True, exist_ok=True)
        server = ["-m", "uvicorn", "--no-access-log", "--host", "127.0.0.1", "--port", str(port)]
        command = [sys.executable, *server, "mlflow.server.fastapi_app:app"]
        environment = {**os.environ, **_guarded(self._state), **self._options()}
        with (self._folder / "server.log").open("w") as log:
            process = self._state.spawn(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                with _direct.open(f"{url}/api/2.0/mlflow/experiments/get?experiment_id=0", timeout=START_SECONDS):
                    return url
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"MLflow did not start; see {self._folder}/server.log")

    def _options(self) -> dict[str, str]:
        """What `mlflow server` hands to the server it starts; its own start would double the time that this takes."""
        return {
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{self._folder}/mlflow.db",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(self._folder / "artifacts"),
            **QUIET,
        }

    def _call(self, what: str, query: dict[str, str] | None = None, body: Any = None) -> Any:
        url = f"{self.url}/api/2.0/mlflow/{what}"
        if query:
            url += "?" + urllib.parse.urlencode(query)
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
        try:
            with _direct.open(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return {}
            raise RuntimeError(f"MLflow {what}: {error.read().decode(errors='replace')}") from error


def _guarded(state: TwinState) -> dict[str, str]:
    wanted = ("PYTHONPATH", "NORIA_TWIN_GUARD", "NO_PROXY", "no_proxy")
    return {name: value for name, value in state.environment().items() if name in wanted}
