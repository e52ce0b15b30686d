"""Airflow's REST API as the launcher needs it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote

import httpx

from noria.errors import InputError, NoriaError
from noria.launcher.credentials import USER

TRIES = 3
TRY_AGAIN_SECONDS = 0.5


class ApiUnavailableError(NoriaError):
    """The API server did not answer well this time; it may be busy."""

    retryable = True


class AirflowApi:
    """A client with a login of its own; transient failures are ApiUnavailableError.

    Args:
        url: Of the API server, without a path.
        password: Of the user `admin`.
    """

    def __init__(self, url: str, password: str) -> None:
        self.url, self._password = url, password
        # A proxy of the environment is for the outside, never for loopback.
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._logged_in = False

    def close(self) -> None:
        """Give back the connections."""
        self._http.close()

    def health(self) -> dict[str, str | None]:
        """Component -> healthy, unhealthy or none; empty while nothing answers."""
        try:
            answer = self._http.get("/api/v2/monitor/health", timeout=5)
            answer.raise_for_status()
        except httpx.HTTPError:
            return {}
        return {name: facts["status"] for name, facts in answer.json().items()}

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """A DAG, or none while the DAG processor has not found it."""
        answer = self._request("GET", f"/api/v2/dags/{_quoted(dag_id)}", missing_ok=True)
        return answer or None

    def import_errors(self) -> dict[str, str]:
        """DAG file -> why it does not load."""
        errors = self._request("GET", "/api/v2/importErrors", params={"limit": 100})["import_errors"]
        return {e["filename"]: e["stack_trace"] for e in errors}

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler start the DAG's runs."""
        self._request("PATCH", f"/api/v2/dags/{_quoted(dag_id)}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Queue a run; its id.

        Raises:
            InputError: The DAG refuses a value of `conf`.
        """
        body = {"logical_date": None, "conf": dict(conf)}
        return str(self._request("POST", f"/api/v2/dags/{_quoted(dag_id)}/dagRuns", json=body)["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """A run."""
        return self._request("GET", _run(dag_id, run_id))

    def unfinished_runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Runs that are queued or running, oldest first."""
        params = {"state": ["queued", "running"], "order_by": "run_after"}
        runs = self._request("GET", f"/api/v2/dags/{_quoted(dag_id)}/dagRuns", params=params)["dag_runs"]
        return cast(list[dict[str, Any]], runs)

    def fail_run(self, dag_id: str, run_id: str, note: str) -> None:
        """Stop a run, with the reason as its note; asked again while Airflow's database is held by its scheduler."""
        for tries_left in reversed(range(TRIES)):
            try:
                self._request("PATCH", _run(dag_id, run_id), json={"state": "failed", "note": note})
                return
            except ApiUnavailableError:
                if not tries_left:
                    raise
                time.sleep(TRY_AGAIN_SECONDS)

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Task instances of a run."""
        tasks = self._request("GET", f"{_run(dag_id, run_id)}/taskInstances")["task_instances"]
        return cast(list[dict[str, Any]], tasks)

    def task_log(self, task: Mapping[str, Any]) -> str:
        """What the last try of a task instance has written, as JSON."""
        path = f"{_task(task)}/logs/{task['try_number']}"
        return str(self._request("GET", path, headers={"Accept": "application/json"})["content"])

    def task_links(self, task: Mapping[str, Any]) -> dict[str, str]:
        """The buttons of a task instance: name -> address."""
        links = self._request("GET", f"{_task(task)}/links")["extra_links"]
        return {name: url for name, url in links.items() if url}

    def _request(self, method: str, path: str, *, missing_ok: bool = False, **options: Any) -> dict[str, Any]:
        try:
            answer = self._ask(method, path, **options)
        except httpx.HTTPError as error:
            raise ApiUnavailableError(f"Airflow did not answer {method} {path}: {error}") from error
        if answer.status_code == httpx.codes.NOT_FOUND and missing_ok:
            return {}
        if answer.is_client_error:
            kind = InputError if answer.status_code in (400, 422) else NoriaError
            raise kind(f"Airflow refused {method} {path}: {_detail(answer)}")
        if answer.is_server_error:
            raise ApiUnavailableError(f"Airflow answered {method} {path} by {answer.status_code}: {_detail(answer)}")
        return cast(dict[str, Any], answer.json())

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        if not self._logged_in:
            self._log_in()
        answer = self._http.request(method, path, **options)
        if answer.status_code == httpx.codes.UNAUTHORIZED:  # the token is as old as the launcher has been up
            self._log_in()
            answer = self._http.request(method, path, **options)
        return answer

    def _log_in(self) -> None:
        answer = self._http.post("/auth/token", json={"username": USER, "password": self._password})
        if answer.is_client_error:
            raise NoriaError(f"Airflow refused the login of {USER}: {_detail(answer)}")
        answer.raise_for_status()
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        self._logged_in = True


def run_page(url: str, dag_id: str, run_id: str) -> str:
    """Address of a run in the UI."""
    return f"{url}/dags/{_quoted(dag_id)}/runs/{_quoted(run_id)}"


def answer_page(url: str, task: Mapping[str, Any]) -> str:
    """Address of the form where a person answers what a task asks."""
    return f"{run_page(url, task['dag_id'], task['dag_run_id'])}/tasks/{_quoted(task['task_id'])}/required_actions"


def _run(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{_quoted(dag_id)}/dagRuns/{_quoted(run_id)}"


def _task(task: Mapping[str, Any]) -> str:
    return f"{_run(task['dag_id'], task['dag_run_id'])}/taskInstances/{_quoted(task['task_id'])}"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.reason_phrase}"
