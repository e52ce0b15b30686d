"""Runs in a real Airflow: what the scheduler, the DAG processor and the API server make of our DAGs together."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import psutil
import pytest

from noria.costs.table import open_costs
from noria.errors import InputError
from noria.jobs.runner import run_stage
from noria.launcher.stack import Stack
from noria.mailbox import inbox
from noria.records import Decision, Run, Snapshot
from noria.settings import CHECKOUT, Settings
from noria.stages.by_hand import approve
from noria.stages.promote import promote
from noria.stages.release import release
from noria.workspace import Workspace, safe_run_id
from tests.support.http_server import Server, Slow, Status, serve
from tests.support.launcher import QUIET
from tests.support.proposals import propose
from tests.support.runs import explored
from tests.support.spending import past

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
STUDENTS = (CHECKOUT / "include" / "pipelines" / "students" / "pipeline.yaml").read_text()
PATIENCE_SECONDS = 240
ASKING = """gate:
  approval: { timeout_hours: 1, approvers: [admin] }
  beat_champion: advisory
"""
BOUND = """
budget: { per_day: 0.1, when_exceeded: approve, approvers: [admin], timeout_hours: 1 }
"""
LATE = "alerts:\n  deadline_minutes: 0.1"
JUDGED = "with-a-candidate"
"""Run that has trained already, or been judged as well, when Airflow takes it up."""


class World:
    """A running Airflow with pipelines of its own, and a server that they take their data from."""

    def __init__(self, stack: Stack, workspace: Workspace, server: Server) -> None:
        self.api, self.url, self.home, self.server = stack.api, stack.url, workspace.settings.home, server
        self.workspace = workspace
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

    def trigger_costs(self) -> str:
        wait(lambda: self.api.dag("export_costs"), "export_costs to be found")
        return self.api.trigger("export_costs", {})

    def take_up(self, pipeline: str, run_id: str) -> str:
        """Trigger a run under the id of one that was begun without Airflow."""
        dag = f"{pipeline}__retrain"
        wait(lambda: self.api.dag(dag), f"{dag} to be found")
        body = {"dag_run_id": run_id, "logical_date": None}
        # Its database may be busy; what was begun then is there already.
        wait(lambda: self.http.post(f"/api/v2/dags/{dag}/dagRuns", json=body).status_code in (200, 409), "a run")
        return run_id

    def answer(self, pipeline: str, run_id: str, option: str, reason: str, *, task: str = "approve") -> dict[str, Any]:
        """Answer the question of a run as the UI does, once it is put; what Airflow had been told to ask.

        Airflow loses an answer that comes before its scheduler knows that the task waits, and asks again.
        """
        path = f"dags/{pipeline}__retrain/dagRuns/{run_id}/taskInstances/{task}/-1/hitlDetails"
        asked: list[dict[str, Any]] = []

        def is_taken() -> bool:
            state = self.tasks(pipeline, run_id).get(task, {}).get("state")
            if state == "awaiting_input":
                asked.append(self.get(path))
                body = {"chosen_options": [option], "params_input": {"reason": reason}}
                assert self.http.patch(f"/api/v2/{path}", json=body).status_code in (200, 409)
            return state == "success" or bool(self.ended(pipeline, run_id))

        wait(is_taken, f"{pipeline} to ask")
        assert asked, "nobody was asked"
        return asked[0]

    def decision(self, pipeline: str, run_id: str) -> Decision:
        """The last word on a run's candidate."""
        decision = self.workspace.decision(self.workspace.load_run(pipeline, safe_run_id(run_id)))
        assert decision is not None
        return decision

    def events(self, pipeline: str) -> list[dict[str, Any]]:
        """What has happened to the asset of a pipeline's model, oldest first."""
        found = self.get("assets/events?limit=100&order_by=timestamp")["asset_events"]
        return [event for event in found if event["name"] == f"{pipeline}_champion"]

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

    def mail(self, pipeline: str, about: str = "") -> inbox.Mail:
        """The mail about a pipeline, which comes a moment after the run's end."""
        start = f"] {pipeline}: {about}"
        return wait(lambda: [m for m in inbox.read(self.home) if start in m.subject], f"a mail “{start}”")[0]


def wait(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(1)
    raise AssertionError(f"waited {PATIENCE_SECONDS} s for {what}")


def trained(pipeline: str, run_id: str, share: float, workspace: Workspace) -> Run:
    """A run as far as its candidate; in Airflow its first tasks find what they would have done, and take no time."""
    run = propose(workspace, run_id=run_id, pipeline=pipeline, rows=1000, trained_on=share)
    explored(workspace, run, workspace.require(run, "ingest", Snapshot).snapshot_id)
    return run


def first_champion(workspace: Workspace) -> None:
    """Version 1 of `asked`, a candidate that its next run has yet to judge, and one of `declined` that is judged."""
    run = trained("asked", "first", 0.5, workspace)
    run_stage("promote", promote, run, workspace)
    approve(run, workspace, approved=True, by="admin", reason="the first one")
    run_stage("release", release, run, workspace)
    trained("asked", JUDGED, 1, workspace)
    run_stage("promote", promote, trained("declined", JUDGED, 1, workspace), workspace)
    yesterday = str(workspace.clock().date() - timedelta(days=1))
    for path in list(workspace.lake.list("metering")):  # what its jobs used, for the night's export
        workspace.lake.create(re.sub(r"\d{4}-\d\d-\d\d", yesterday, path, count=1), workspace.lake.read(path))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("live")
    for name in ("gone", "flaky", "killed"):
        folder = root / "pipelines" / name
        folder.mkdir(parents=True)
        late = LATE if name == "killed" else "alerts:"
        spec = STUDENTS.replace("name: students", f"name: {name}", 1).replace("alerts:", late, 1)
        (folder / "pipeline.yaml").write_text(spec)
    for name in ("asked", "declined"):
        folder = root / "pipelines" / name
        folder.mkdir(parents=True)
        asking = STUDENTS.replace("name: students", f"name: {name}", 1).replace("gate:", ASKING, 1)
        (folder / "pipeline.yaml").write_text(asking)
    dear = root / "pipelines" / "dear" / "pipeline.yaml"
    dear.parent.mkdir()
    dear.write_text(STUDENTS.replace("name: students", "name: dear", 1) + BOUND)
    (root / "pipelines" / "broken").mkdir()
    (root / "pipelines" / "broken" / "pipeline.yaml").write_text(STUDENTS.replace("target:", "traget:", 1))
    sheet = (CHECKOUT / "include" / "costs.yaml").read_text()
    (root / "costs.yaml").write_text(sheet.replace("emails: []", "emails: [finance@example.org]"))
    environment = {
        "NORIA_COSTS": str(root / "costs.yaml"),
        "NORIA_PIPELINES": str(root / "pipelines"),
        "PATH": os.environ["PATH"],
        **QUIET,
    }
    settings = Settings.from_env(environment, home=root / "home")
    workspace = Workspace.open(settings)
    first_champion(workspace)
    past(workspace, 10, pipeline="dear")
    with serve() as server, Stack(settings, port=0, scheduled_runs=False, tell=print) as stack:
        yield World(stack, workspace, server)


@pytest.fixture(scope="module")
def runs(world: World) -> dict[str, str]:
    """All runs, begun together so that they wait for their retries at the same time."""
    rows = b"gender,race_ethnicity\nfemale,group A\n"
    flaky = world.server.put("/flaky.csv", rows, *[Status(503)] * 5)
    killed = world.server.put("/killed.csv", rows, *[Slow(300)] * 10)
    return {
        "costs": world.trigger_costs(),
        "killed": world.trigger("killed", source=killed),
        "gone": world.trigger("gone", source="file:///no/such/file.csv"),
        "flaky": world.trigger("flaky", source=flaky),
        "asked": world.take_up("asked", JUDGED),
        "declined": world.take_up("declined", JUDGED),
        "dear": world.trigger("dear"),
        "dear again": world.trigger("dear", source="file:///no/such/file.csv"),
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


def test_a_task_that_is_killed_every_time_raises_one_mail(world: World, runs: dict[str, str]) -> None:
    """The longest comes first, so that the others end while it waits to be tried again."""
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
    failed = world.mail("killed", "the run failed")
    assert failed.subject == "[Noria error] killed: the run failed in ingest: it ended without a word"
    (log,) = re.findall(r"^Log of ingest: (\S+)", failed.text, re.MULTILINE)
    assert log.endswith("/tasks/ingest")
    late = world.mail("killed", "the run is late: after 0.1 minutes it ")
    assert late.subject.startswith("[Noria warning]")
    assert [mail.number for mail in inbox.read(world.home) if "] killed: " in mail.subject] == [
        late.number,
        failed.number,
    ], "three tries are one failure"


def test_a_final_error_is_not_tried_again_but_reported_and_mailed(world: World, runs: dict[str, str]) -> None:
    assert world.end("gone", runs["gone"]) == "failed"
    tasks = world.tasks("gone", runs["gone"])
    assert (tasks["ingest"]["state"], tasks["ingest"]["try_number"]) == ("failed", 1)
    assert tasks["train"]["state"] == "upstream_failed"
    assert tasks["report"]["state"] == "success", "a report of the failure is written, and the run stays red"
    mail = world.mail("gone")
    assert mail.subject.startswith("[Noria error] gone: the run failed in ingest: no file /no/such/file.csv")
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


def test_a_candidate_that_somebody_approves_becomes_the_champion(world: World, runs: dict[str, str]) -> None:
    run_id = runs["asked"]
    asked = world.answer("asked", run_id, "Approve", "the groups look right")
    assert asked["subject"] == "May this model become the champion of asked in place of version 1?"
    assert "Compared with the champion" in asked["body"]
    assert [user["id"] for user in asked["assigned_users"]] == ["admin"]
    champion = world.workspace.registry.champion("asked")
    assert champion is not None
    assert champion.version == "1", "nothing changes before the answer"

    assert world.end("asked", run_id) == "success"
    decision = world.decision("asked", run_id)
    assert decision.new_champion
    assert decision.approval is not None
    assert (decision.approval.by, decision.approval.reason) == ("admin", "the groups look right")
    champion = world.workspace.registry.champion("asked")
    assert champion is not None
    assert champion.version == decision.champion_version != "1"
    mail = world.mail("asked", "candidate waits for approval")
    assert f"{world.url}/dags/asked__retrain/runs/" in mail.text.partition("Approve or decline: ")[2]
    assert "Approved by admin" in world.mail("asked", "new champion").text
    (event,) = world.events("asked")
    assert event["extra"]["version"] == champion.version
    assert event["source_task_id"] == "release"


def test_a_candidate_that_somebody_declines_does_not(world: World, runs: dict[str, str]) -> None:
    world.answer("declined", runs["declined"], "Reject", "the term has not ended")
    assert world.end("declined", runs["declined"]) == "success"
    assert {task["state"] for task in world.tasks("declined", runs["declined"]).values()} == {"success"}
    assert world.workspace.registry.champion("declined") is None
    assert world.decision("declined", runs["declined"]).approval is not None
    assert world.mail("declined", "candidate declined by admin: the term has not ended")
    assert [entry.event for entry in world.workspace.ledger("declined").entries()] == ["staged", "declined"]
    assert world.events("declined") == []


def test_a_run_beyond_its_budget_waits_for_people_before_its_first_job(world: World, runs: dict[str, str]) -> None:
    asked = world.answer("dear", runs["dear"], "Reject", "not this month", task="budget")
    assert asked["subject"] == "May this run of dear break its budget?"
    assert "per\\_day of dear is 0.10 USD: 0.48 USD of it are spent" in asked["body"]
    assert world.end("dear", runs["dear"]) == "failed"
    states = {name: task["state"] for name, task in world.tasks("dear", runs["dear"]).items()}
    assert (states["budget"], states["ingest"], states["report"]) == ("failed", "upstream_failed", "skipped")
    no_job = safe_run_id(runs["dear"])
    assert [path for path in world.workspace.lake.list("metering") if no_job in path] == []
    mail = world.mail("dear", "the run was stopped before its first job")
    assert "Declined by admin: not this month" in mail.text

    world.answer("dear", runs["dear again"], "Approve", "the fair is tomorrow", task="budget")
    assert world.tasks("dear", runs["dear again"])["budget"]["state"] == "success"
    first = wait(lambda: world.tasks("dear", runs["dear again"])["ingest"]["state"], "its first job")
    assert first not in ("upstream_failed", "skipped"), "it was its turn, whatever becomes of it without its file"


def test_a_form_leads_back_to_the_champion_before(world: World, runs: dict[str, str]) -> None:
    world.end("asked", runs["asked"])
    with pytest.raises(InputError, match="reason"):
        world.api.trigger("asked__rollback", {"version": "1"})
    run_id = world.api.trigger("asked__rollback", {"version": None, "reason": "wrong since Monday"})
    wait(lambda: world.api.run("asked__rollback", run_id)["state"] in ("success", "failed"), "the rollback")
    assert world.api.run("asked__rollback", run_id)["state"] == "success"
    champion = world.workspace.registry.champion("asked")
    assert champion is not None
    assert champion.version == "1"
    last = world.workspace.ledger("asked").entries()[-1]
    assert (last.event, last.by, last.reasons) == ("rolled_back", "admin", ("wrong since Monday",))
    assert world.mail("asked", "rolled back to version 1 by admin: wrong since Monday")
    assert world.events("asked")[-1]["extra"]["verdict"] == "rollback"


def test_a_rollback_that_cannot_be_says_why(world: World, runs: dict[str, str]) -> None:
    world.end("asked", runs["asked"])
    run_id = world.api.trigger("asked__rollback", {"version": "99", "reason": "a slip of the finger"})
    wait(lambda: world.api.run("asked__rollback", run_id)["state"] in ("success", "failed"), "the rollback")
    (task,) = world.api.tasks("asked__rollback", run_id)
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert world.mail("asked", "the rollback failed: version 99 of asked does not exist; expected one of")


def test_a_night_fills_the_table_shows_the_page_and_mails_its_lines(world: World, runs: dict[str, str]) -> None:
    run_id = runs["costs"]
    wait(lambda: world.api.run("export_costs", run_id)["state"] in ("success", "failed"), "the cost export")
    states = {task["task_id"]: task["state"] for task in world.api.tasks("export_costs", run_id)}
    steps = ("meter", "export", "ingest", "budgets", "report")
    assert states == dict.fromkeys((*steps, "complete"), "success")
    day = world.workspace.clock().date() - timedelta(days=1)
    rows = open_costs(world.workspace).read(day, day + timedelta(days=1), ["x_Stage", "BilledCost"]).to_pylist()
    assert {"promote", "release"} <= {row["x_Stage"] for row in rows if row["BilledCost"] > 0}
    page = world.http.get("/noria/costs", follow_redirects=True)
    assert (page.status_code, page.url.path) == (200, f"/noria/reports/costs/{day}.html")
    assert "asked" in page.text
    assert httpx.get(str(page.url)).status_code == 401
    mail = world.mail("costs")
    assert f"Cost report: {world.url}/noria/costs" in mail.text
    encoded = run_id.replace(":", "%3A").replace("+", "%2B")
    links = world.get(f"dags/export_costs/dagRuns/{encoded}/taskInstances/report/links")["extra_links"]
    assert links["Cost report"] == f"{world.url}/noria/costs"
    views = [v for p in world.get("plugins")["plugins"] if p["name"] == "noria" for v in p["external_views"]]
    assert [v["href"] for v in views if v["destination"] == "nav"] == ["noria/costs"]
