"""Runs in a real Airflow: what the scheduler, the DAG processor and the API server make of our DAGs together."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from noria.errors import InputError
from noria.launcher.stack import Stack
from noria.mailbox import inbox
from noria.settings import CHECKOUT, Settings
from tests.support.http_server import Server, Slow, Status, serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
STUDENTS = (CHECKOUT / "include" / "pipelines" / "students" / "pipeline.yaml").read_text()
PATIENCE_SECONDS = 240


class World:
    """A running Airflow with pipelines of its own, and a server that they take their data from."""

    def __init__(self, stack: Stack, home: Path, server: Server) -> None:
        self.api, self.url, self.home, self.server = stack.api, stack.url, home, server
        login = {"username": stack.user, "password": stack.password}
        token = httpx.post(f"{stack.url}/auth/token", json=login).json()["access_token"]
        self.http = httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def get(self, path: str) -> Any:
        answer = self.http.get(f"/api/v2/{path}")
        answer.raise_for_status()
        return answer.json()

    def trigger(self, pipeline: str, **conf: object) -> str:
        dag = f"{pipeline}__retrain"
        wait(lambda: self.api.dag(dag), f"{dag} to be found")
        return self.api.trigger(dag, conf)

    def tasks(self, pipeline: str, run_id: str) -> dict[str, dict[str, Any]]:
        return {task["task_id"]: task for task in self.api.tasks(f"{pipeline}__retrain", run_id)}

    def end(self, pipeline: str, run_id: str) -> str:
        """State of a run once it has ended."""
        run = wait(lambda: self.ended(pipeline, run_id), f"{pipeline} to end")
        return str(run["state"])

    def ended(self, pipeline: str, run_id: str) -> Any:
        """The run if it has ended."""
        run = self.api.run(f"{pipeline}__retrain", run_id)
        return run if run["state"] in ("success", "failed") else None

    def mail(self, pipeline: str) -> inbox.Mail:
        """The mail about a pipeline, which comes a moment after the run's end."""
        return wait(lambda: [m for m in inbox.read(self.home) if f"] {pipeline}:" in m.subject], "a mail")[0]


def wait(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.3)
    raise AssertionError(f"waited {PATIENCE_SECONDS} s for {what}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("live")
    for name in ("gone", "flaky", "killed"):
        folder = root / "pipelines" / name
        folder.mkdir(parents=True)
        (folder / "pipeline.yaml").write_text(STUDENTS.replace("name: students", f"name: {name}", 1))
    (root / "pipelines" / "broken").mkdir()
    (root / "pipelines" / "broken" / "pipeline.yaml").write_text(STUDENTS.replace("target:", "traget:", 1))
    environment = {"NORIA_PIPELINES": str(root / "pipelines"), "PATH": os.environ["PATH"]}
    settings = Settings.from_env(environment, home=root / "home")
    with serve() as server, Stack(settings, port=0, scheduled_runs=False, tell=print) as stack:
        yield World(stack, settings.home, server)


@pytest.fixture(scope="module")
def runs(world: World) -> dict[str, str]:
    """All runs, begun together so that they wait for their retries at the same time."""
    rows = b"gender,race_ethnicity\nfemale,group A\n"
    flaky = world.server.put("/flaky.csv", rows, *[Status(503)] * 5)
    killed = world.server.put("/killed.csv", rows, *[Slow(300)] * 10)
    return {
        "gone": world.trigger("gone", source="file:///no/such/file.csv"),
        "flaky": world.trigger("flaky", source=flaky),
        "killed": world.trigger("killed", source=killed),
    }


def test_a_broken_folder_is_an_import_error_that_names_it_and_the_others_load(world: World) -> None:
    error = wait(lambda: world.api.import_errors().get("broken_pipelines.py"), "the import error")
    assert re.search(r"pipelines/broken/pipeline\.yaml:\d+: .*did you mean 'target'", error)
    wait(lambda: world.api.dag("students__retrain"), "the other DAGs")
    assert world.api.dag("broken__retrain") is None
    assert world.api.dag("students__retrain")["has_import_errors"] is False


def test_a_bad_value_of_the_form_is_refused(world: World) -> None:
    wait(lambda: world.api.dag("students__retrain"), "the DAG")
    with pytest.raises(InputError, match=r"training_share.*1\.5.*maximum of 1"):
        world.api.trigger("students__retrain", {"training_share": 1.5})


def test_a_final_error_is_not_tried_again_but_reported_and_mailed(world: World, runs: dict[str, str]) -> None:
    assert world.end("gone", runs["gone"]) == "failed"
    tasks = world.tasks("gone", runs["gone"])
    assert (tasks["ingest"]["state"], tasks["ingest"]["try_number"]) == ("failed", 1)
    assert tasks["train"]["state"] == "upstream_failed"
    assert tasks["report"]["state"] == "success", "a report of the failure is written, and the run stays red"
    mail = world.mail("gone")
    assert mail.subject.startswith("[Noria] gone: the run failed in ingest: no file /no/such/file.csv")
    assert "no file /no/such/file.csv" in mail.text.partition("Last lines of the log of ingest:")[2]
    (link,) = re.findall(r"^Report: (\S+)", mail.text, re.MULTILINE)
    page = world.http.get(link, follow_redirects=True)
    assert page.status_code == 200
    assert "no file /no/such/file.csv" in page.text
    assert httpx.get(link).status_code == 401, "only somebody who is logged in may see it"


def test_the_report_is_a_tab_of_the_run(world: World) -> None:
    views = [v for p in world.get("plugins")["plugins"] if p["name"] == "noria" for v in p["external_views"]]
    tab = next(v for v in views if v["name"] == "Report")
    assert (tab["destination"], tab["href"]) == ("dag_run", "noria/dags/{DAG_ID}/runs/{RUN_ID}/report")


def test_a_task_has_links_to_report_and_data_docs(world: World, runs: dict[str, str]) -> None:
    world.end("gone", runs["gone"])
    run = f"dags/gone__retrain/dagRuns/{runs['gone'].replace(':', '%3A').replace('+', '%2B')}"
    links = world.get(f"{run}/taskInstances/report/links")["extra_links"]
    assert links["Report"].startswith(f"{world.url}/noria/dags/gone__retrain/runs/manual__")
    assert links["Data Docs"].endswith("/data-docs")


def test_a_source_that_is_away_for_a_moment_is_tried_again(world: World, runs: dict[str, str]) -> None:
    world.end("flaky", runs["flaky"])
    ingest = world.tasks("flaky", runs["flaky"])["ingest"]
    assert (ingest["state"], ingest["try_number"]) == ("failed", 2), "the second try got an answer, a wrong table"
    assert "column" in world.mail("flaky").subject


def test_a_task_that_is_killed_every_time_raises_a_mail(world: World, runs: dict[str, str]) -> None:
    killed: set[int] = set()

    def kill_tasks() -> bool:
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                command = process.cmdline()
                task = process.parent()
                job = "noria.jobs.ingest" in command and "killed" in command
                # An orphan's parent is the machine's first process: only what this test has started is killed.
                if job and task and task.pid not in killed and psutil.Process() in task.parents():
                    killed.add(task.pid)
                    task.kill()
        return bool(world.ended("killed", runs["killed"]))

    wait(kill_tasks, "the run to give up")
    assert world.end("killed", runs["killed"]) == "failed"
    assert len(killed) == 3, "the first try and two retries"
    assert world.tasks("killed", runs["killed"])["report"]["state"] == "success"
    assert world.mail("killed").subject == "[Noria] killed: the run failed in ingest: it ended without a word"
