"""The very DAG of the laptop on the twin: the same verdict, and what it survives on the way.

All runs are of one Airflow and overlap, since most of their time is waiting.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from noria.azure import ML
from noria.azure.ml_client import ml_client
from noria.launcher.component import COMPONENTS, Component
from noria.launcher.stack import Stack
from noria.launcher.state import LauncherState
from noria.records import Candidate, Decision, Profile, Record, Run, Snapshot
from noria.settings import CHECKOUT, Settings
from noria.workspace import Workspace, safe_run_id
from tests.azure.live import Live, patience
from tests.azure.secrets import assert_no_secrets
from tests.azure.twin.client import Twin
from tests.azure.twin.fixtures import living_on
from tests.support.github import github
from tests.support.launcher import QUIET
from tests.support.proposals import untrained
from tests.support.reference import write_students

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STUDENTS = (CHECKOUT / "include" / "pipelines" / "students" / "pipeline.yaml").read_text()
SOURCE = "github://someone/courses/data/StudentsPerformance.csv@main"
TOKEN = "github-token-that-nobody-may-see"
FAMILIES = [
    {"kind": "ridge", "search": {"alpha": {"low": 0.01, "high": 100, "log": True}}},
    {
        "kind": "gradient_boosting",
        "params": {"max_iter": 50},
        "search": {"max_leaf_nodes": {"low": 4, "high": 8, "integer": True}},
    },
]
FEW = {"tuning.folds": "2", "tuning.workers": "1", "evaluation.seeds": "2"}
SEARCH = {"estimators": json.dumps(FAMILIES), "tuning.trials": "4", **FEW}
ONE = {"estimators": '[{"kind": "linear"}]', "tuning.trials": "1", **FEW}
TINY = {"source.rows": "200", **ONE}
PATIENCE_SECONDS = 400
COMPARED: tuple[tuple[str, type[Record], dict[str, Any]], ...] = (
    ("ingest", Snapshot, {"fetched_at": True}),
    ("explore", Profile, {"result": True}),
    (
        "train",
        Candidate,
        {
            "model": True,
            "training_rows": True,
            "cluster": True,
            "search_seconds": True,
            "contenders": {"__all__": {"seconds": True}},
        },
    ),
    ("promote", Decision, {"verdict_id": True, "predicting": {"cpu_seconds": True}}),
)
"""Stage, its record, and what of it is of the place and the moment where it ran."""
OF_THE_MOMENT = ("clock", "freshness", "latency", "training_cost")
"""Kinds of rules that measure something else each time."""


class World:
    """Airflow on the twin."""

    def __init__(self, stack: Stack, settings: Settings, twin: Twin) -> None:
        self.stack, self.settings, self.twin, self.api = stack, settings, twin, stack.api
        self.cancelled = ""
        own = Settings.from_env(twin.environment | {"NORIA_LAKE_URL": settings.lake_url}, home=settings.home)
        self.workspace = Workspace.open(own.replace(pipelines=settings.pipelines))
        login = {"username": stack.user, "password": stack.password}
        token = httpx.post(f"{stack.url}/auth/token", json=login).json()["access_token"]
        self._http = httpx.Client(base_url=stack.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def trigger(self, pipeline: str, **conf: Any) -> str:
        dag = f"{pipeline}__retrain"
        wait(lambda: self.api.dag(dag), f"{dag} to be found")
        return self.api.trigger(dag, conf)

    def take_up(self, pipeline: str, **overrides: str) -> str:
        """Trigger a run that has got as far as its training without Airflow, whose first tasks take no time then."""
        dag, run_id = f"{pipeline}__retrain", "harmed"
        untrained(self.workspace, pipeline, run_id, **overrides)
        wait(lambda: self.api.dag(dag), f"{dag} to be found")
        body = {"dag_run_id": run_id, "logical_date": None}
        # Its database may be busy; what was begun then is there already.
        wait(lambda: self._http.post(f"/api/v2/dags/{dag}/dagRuns", json=body).status_code in (200, 409), "a run")
        return run_id

    def state(self, pipeline: str, run_id: str, task: str) -> str | None:
        tasks = self.api.tasks(f"{pipeline}__retrain", run_id)
        return next((t["state"] for t in tasks if t["task_id"] == task), None)

    def api_tasks(self, pipeline: str, run_id: str) -> dict[str, dict[str, Any]]:
        return {task["task_id"]: task for task in self.api.tasks(f"{pipeline}__retrain", run_id)}

    def get(self, path: str) -> Any:
        answer = self._http.get(f"/api/v2/{path}")
        answer.raise_for_status()
        return answer.json()

    def log(self, pipeline: str, run_id: str, task: str) -> str:
        """All that Airflow shows of a task's last try."""
        number = self.api_tasks(pipeline, run_id)[task]["try_number"]
        path = f"dags/{pipeline}__retrain/dagRuns/{run_id}/taskInstances/{task}/logs/{number}?full_content=true"
        return json.dumps(self.get(path))

    def jobs(self, pipeline: str) -> dict[str, str]:
        """Name and status of the jobs of a pipeline, as Azure ML has them."""
        client = ml_client(self.twin.connection(ML))
        return {str(j.name): j.status.value for j in client.jobs.list() if str(j.name).startswith(f"{pipeline}-")}

    def task_process(self, pipeline: str, run_id: str, task: str) -> psutil.Process | None:
        """The process of a task that is running; Airflow gives it the task's id as a title."""
        title = f"airflow worker -- {self.api_tasks(pipeline, run_id)[task]['id']}"
        for process in self.component("scheduler").process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if title in " ".join(process.cmdline()):
                    return process
        return None

    def component(self, name: str) -> Component:
        return next(c for c in self.stack._components if c.name == name)

    def restart_triggerer(self) -> None:
        """Kill it with all its children, and start another one."""
        old, state = self.component("triggerer"), LauncherState.load(self.settings.home)
        assert state is not None
        environment = old.process.environ()
        for process in (*old.process.children(recursive=True), old.process):
            process.kill()
        old.wait()
        self.stack._components.remove(old)
        self.stack._spawn("triggerer", COMPONENTS["triggerer"], environment, state.smtp_port)

    def end(self, pipeline: str, run_id: str) -> str:
        return str(
            wait(lambda: self.ended(pipeline, run_id), f"{pipeline} to end", patience(self.twin, PATIENCE_SECONDS))
        )

    def ended(self, pipeline: str, run_id: str) -> str | None:
        """State of a run if it has ended."""
        state = str(self.api.run(f"{pipeline}__retrain", run_id)["state"])
        return state if state in ("success", "failed") else None

    def failure(self, pipeline: str) -> str:
        """The ends of the logs of a pipeline's stages."""
        logs = sorted((self.settings.home / "logs" / pipeline).rglob("*.log"))
        return "\n".join(f"{file.name}: {file.read_text()[-600:]}" for file in logs)

    def run(self, pipeline: str, run_id: str) -> Run:
        return self.workspace.load_run(pipeline, safe_run_id(run_id))


def wait(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(1)
    raise AssertionError(f"waited {seconds} s for {what}")


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """GitHub with the real students file; the settings that lead there."""
    root = tmp_path_factory.mktemp("github")
    write_students(root / "someone" / "courses" / "data" / "StudentsPerformance.csv")
    with github(root) as server:
        yield {"NORIA_GITHUB_RAW_URL": server.url, "NORIA_GITHUB_API_URL": server.url}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, stand_in: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The same run on this machine, without Airflow and without the twin; it runs while the others do."""
    home = tmp_path_factory.mktemp("local")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NORIA_", "AIRFLOW", "AZURE_", "IDENTITY_"))}
    changes = [argument for key, value in SEARCH.items() for argument in ("--set", f"{key}={value}")]
    noria = str(Path(sys.executable).parent / "noria")
    with subprocess.Popen(
        [noria, "run", "students", "--source", SOURCE, *changes, "--home", str(home), "--json"],
        env=clean | stand_in,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def world(
    twin_process: Twin, tmp_path_factory: pytest.TempPathFactory, stand_in: dict[str, str], local: subprocess.Popen[str]
) -> Iterator[World]:
    root = tmp_path_factory.mktemp("twin-airflow")
    for name in HARM:
        folder = root / "pipelines" / name
        folder.mkdir(parents=True)
        (folder / "pipeline.yaml").write_text(STUDENTS.replace("name: students", f"name: {name}", 1))
    own = QUIET | {
        "NORIA_PIPELINES": str(root / "pipelines"),
        "PATH": os.environ["PATH"],
        "NORIA_LAKE_URL": twin_process.lake_url(),
    }
    twin_process.secret("airflow-connections-github-default", json.dumps({"conn_type": "http", "password": TOKEN}))
    settings = Settings.from_env(twin_process.airflow_environment | stand_in | own, home=root / "home")
    with (
        pytest.MonkeyPatch.context() as patch,
        living_on(twin_process, patch),
        Stack(settings, port=0, scheduled_runs=False, tell=print) as stack,
    ):
        yield World(stack, settings, twin_process)


@pytest.fixture(scope="module")
def students(world: World) -> str:
    """The run that nothing is done to."""
    if isinstance(world.twin, Live) and world.workspace.registry.champion("students"):
        pytest.skip("the subscription has a champion from an earlier run, and the laptop has none: delete its models")
    return world.trigger("students", source=SOURCE, overrides=SEARCH)


@pytest.fixture(scope="module")
def runs(world: World, students: str) -> dict[str, str]:
    """All runs, each but the first with harm done to it while its training waits for a node of Azure ML."""
    world.twin.fault("management", method="PUT", path="/jobs/interrupted-", hold_seconds=600, times=1)
    world.twin.set("management", queue_seconds=300)
    found = {"students": students}
    found |= {name: world.take_up(name, **TINY) for name in HARM}
    left, world.cancelled = {name: list(harms) for name, harms in HARM.items()}, found["cancelled"]

    def all_done() -> bool:
        for name, harms in left.items():
            if harms and harms[0](world, found[name]):
                harms.pop(0)
            elif harms:
                assert not world.ended(name, found[name]), f"{name} ended too early: {world.failure(name)}"
        return not any(left.values())

    wait(all_done, "the harm to be done")
    world.twin.fault("*", status=429, headers={"Retry-After": "2"}, seconds=30)  # while all sleep, begin or train
    world.twin.set("management", queue_seconds=0)
    return found


def kill_the_worker(world: World, run_id: str) -> bool:
    """Azure ML has taken the job, but its answer is still on the way when the task's process dies."""
    victim = world.jobs("interrupted") and world.task_process("interrupted", run_id, "train")
    if victim:
        victim.kill()
    return bool(victim)


def cancel_in_the_ui(world: World, run_id: str) -> bool:
    """A trigger follows the job, as Airflow's log of the task says."""
    if world.state("cancelled", run_id, "train") != "deferred" or "Queued" not in world.log(
        "cancelled", run_id, "train"
    ):
        return False
    world.api.fail_run("cancelled__retrain", run_id, "by a test")
    wait(lambda: list(world.jobs("cancelled").values()) == ["Canceled"], "the job to be cancelled", 120)
    return True


def restart_the_triggerer(world: World, run_id: str) -> bool:
    """The task's second try sleeps, and the run that was cancelled needs the triggerer no more."""
    asleep = world.state("interrupted", run_id, "train") == "deferred"
    ready = asleep and world.ended("cancelled", world.cancelled)
    if ready:
        world.restart_triggerer()
    return bool(ready)


HARM: dict[str, tuple[Callable[[World, str], bool], ...]] = {
    "interrupted": (kill_the_worker, restart_the_triggerer),
    "cancelled": (cancel_in_the_ui,),
}
"""Pipeline -> what is done to its run, one after the other."""


def test_a_killed_worker_and_a_restarted_triggerer_leave_one_job(world: World, runs: dict[str, str]) -> None:
    """The worker dies between submit and sleep, the triggerer while the second try sleeps, which costs no other try."""
    assert world.end("interrupted", runs["interrupted"]) == "success", world.failure("interrupted")
    assert list(world.jobs("interrupted").values()) == ["Completed"]
    assert len(world.twin.requests("management", "PUT", "/jobs/interrupted-")) == 1
    assert world.api_tasks("interrupted", runs["interrupted"])["train"]["try_number"] == 2


def test_a_run_that_is_cancelled_in_the_ui_cancels_its_job(world: World, runs: dict[str, str]) -> None:
    world.end("cancelled", runs["cancelled"])
    assert world.state("cancelled", runs["cancelled"], "train") == "failed"
    assert list(world.jobs("cancelled").values()) == ["Canceled"]


@pytest.fixture(scope="module")
def told(world: World, local: subprocess.Popen[str]) -> dict[str, Any]:
    """What the run on this machine has printed on its standard output."""
    printed: dict[str, Any] = json.loads(local.communicate(timeout=PATIENCE_SECONDS)[0])
    return printed


def test_a_run_without_airflow_prints_one_json_object_with_the_verdict(told: dict[str, Any]) -> None:
    expected = "pipeline run_id snapshot verdict reasons metrics baselines champion_version report seconds stages"
    assert set(expected.split()) <= set(told)
    assert (told["verdict"], told["waiting"]) == ("promote", False)
    assert told["metrics"]["r2"] > 0.8 > told["baselines"]["dummy"]["r2"]
    assert Path(told["report"]).is_file()
    assert list(told["stages"]) == ["ingest", "validate", "explore", "train", "promote", "report"]


def test_the_verdict_is_the_same_as_on_the_laptop(
    world: World, students: str, told: dict[str, Any], local: subprocess.Popen[str]
) -> None:
    assert world.end("students", students) == "success", world.failure("students")
    here = Workspace.open(Settings.from_env({}, home=Path(local.args[-2])))
    ours = here.load_run("students", told["run_id"])
    theirs = world.run("students", students)
    for stage, kind, own in COMPARED:
        found, expected = world.workspace.require(theirs, stage, kind), here.require(ours, stage, kind)
        assert comparable(found, own) == comparable(expected, own), stage
    decision = world.workspace.require(theirs, "promote", Decision)
    assert decision.verdict == "promote"
    champion, local_champion = world.workspace.registry.champion("students"), here.registry.champion("students")
    assert champion and local_champion
    assert champion.model_sha256 == local_champion.model_sha256
    assert champion.metrics == local_champion.metrics
    assert (local.returncode, told["verdict"], told["champion_version"]) == (0, "promote", local_champion.version)


def comparable(record: Record, own: dict[str, Any]) -> dict[str, Any]:
    """What has to be the same wherever it was made."""
    facts = record.model_dump(exclude=own)
    for rule in facts.get("rules", ()):
        if rule["kind"] in OF_THE_MOMENT:
            rule |= {"passed": True, "detail": "", "value": None, "needed": None}
    return facts


def test_the_task_shows_the_log_and_the_page_of_its_job(world: World, students: str) -> None:
    assert world.end("students", students) == "success", world.failure("students")
    assert "trials" in world.log("students", students, "train")
    assert "spark" in world.log("students", students, "explore").lower()
    links = world.get(f"dags/students__retrain/dagRuns/{students}/taskInstances/train/links")["extra_links"]
    assert re.match(r"https://ml\.azure\.com/runs/students-.*-train\?wsid=", links["Remote job"])


def test_a_run_with_nothing_new_uploads_no_data_and_no_code(world: World, runs: dict[str, str]) -> None:
    for name, run_id in runs.items():
        world.end(name, run_id)
    world.twin.reset()
    again = world.trigger("students", source=SOURCE, overrides=ONE)
    assert world.end("students", again) == "success", world.failure("students")
    assert world.workspace.require(world.run("students", again), "promote", Decision).verdict == "keep"
    written = [r.path for r in world.twin.requests("storage", "PUT")]
    assert written, "a run leaves its records"
    outside = [path for path in written if f"/runs/students/{safe_run_id(again)}/" not in urllib.parse.unquote(path)]
    accounts = r"/\.locks/|/etags/|/ledger/promotions/|/metering/|/outbox/"
    assert [path for path in outside if not re.search(accounts, path)] == []
    created = [r.path for r in world.twin.requests("management", "PUT")]
    assert [path for path in created if "/jobs/" not in path] == []


def test_no_secret_is_in_anything_that_was_left(world: World, runs: dict[str, str], tmp_path: Path) -> None:
    """Logs, mails, Airflow's database with its XComs, every record and page in the lake, what the jobs have printed."""
    for name, run_id in runs.items():
        world.end(name, run_id)
    lake = world.workspace.lake
    for number, path in enumerate(lake.list("runs")):
        (tmp_path / f"{number}-{Path(path).name}").write_bytes(lake.read(path))
    own = world.settings.home / "airflow" / "credentials.json"
    assert_no_secrets(
        [world.settings.home, tmp_path, *(world.twin.folder / place for place in ("ml/jobs", "synapse"))],
        [*world.twin.planted_secrets, TOKEN],
        except_below=[own],
    )
