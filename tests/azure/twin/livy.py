"""Synapse's Livy API and the driver logs of its history server: what is submitted really runs, on local Spark.

Local Spark cannot read `abfss://`. So arguments that name something in the lake become files of this machine, fetched
before the job runs; what the job has written is put into the lake when it has ended, well or not, as it would be there
if the job had written it itself.

Knobs of `synapse`: `start_seconds` (a pool that is slow to start), `failure` (`{"source", "errorCode", "message"}`: the
batch is dead before its application runs), `endless` (the job never ends), `killed` (somebody else ends it), `vcores`
(the workspace's limit).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from azure.synapse.spark.models import SparkBatchJobOptions
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from noria.azure import LAKE, AzureConnection
from noria.compute.spark import spark_configuration, spark_environment, spark_home
from noria.lake import Lake, open_lake
from noria.settings import Settings
from tests.azure.twin.state import SPARK_POOL, TwinState

VERSION = "2022-02-22-preview"
LARGEST_PAGE = 20
LONGEST_BODY = 100_000
MASTER = "local[2]"
_URL = re.compile(r"abfss?://[^\s\"'<>,;]+")
_ENDLESS = "import sys, time; print('working for ever', file=sys.stderr, flush=True); time.sleep(1e9)"
_TYPES: dict[str, Any] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "[str]": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "{str}": lambda value: isinstance(value, dict) and all(isinstance(item, str) for item in value.values()),
}
_FIELDS = {
    facts["key"]: (facts["type"], name in SparkBatchJobOptions._validation)
    for name, facts in SparkBatchJobOptions._attribute_map.items()
}
FINAL = ("success", "dead", "killed", "error")


@dataclass
class Batch:
    """A batch: what was asked for, and how far it has come."""

    id: int
    options: dict[str, Any]
    folder: Path
    state: str = "not_started"
    result: str = "Uncertain"
    plugin: str = "Preparation"
    app_id: str | None = None
    errors: list[dict[str, str]] = field(default_factory=list)
    seen_at: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[Any] | None = None
    ending: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def move(self, state: str, plugin: str, result: str = "Uncertain") -> None:
        """Go to a state, unless the batch has ended."""
        with self.lock:
            if self.state not in FINAL:
                self.state, self.plugin, self.result = state, plugin, result
                self.seen_at[state] = datetime.now(UTC).isoformat()

    def fail(self, source: str, code: str, message: str) -> None:
        """End with a reason."""
        self.errors = [{"source": source, "errorCode": code, "message": message}]
        self.move("dead", "Ended", "Failed")

    def end(self) -> None:
        """Cancel, with all processes."""
        self.ending.set()
        self.move("killed", "Ended", "Cancelled")
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def document(self, *, detailed: bool) -> dict[str, Any]:
        """As Livy tells it, or with what Synapse adds."""
        plain = {"id": self.id, "appId": self.app_id, "appInfo": None, "state": self.state, "log": []}
        if not detailed:
            return plain
        info = {f"{''.join(_camel(state))}At": when for state, when in self.seen_at.items()}
        request = {key: value for key, value in self.options.items() if key not in ("tags", "artifactId")}
        return plain | {
            "livyInfo": info | {"currentState": self.state, "jobCreationRequest": request},
            "name": self.options["name"],
            "workspaceName": "noria",
            "sparkPoolName": SPARK_POOL,
            "jobType": "SparkBatch",
            "result": self.result,
            "schedulerInfo": {"currentState": "Ended" if self.state in FINAL else "Scheduled"},
            "pluginInfo": {"currentState": self.plugin},
            "errorInfo": self.errors,
            "tags": self.options.get("tags"),
        }


class Pool:
    """The batches of a Spark pool and the threads that bring them forward."""

    def __init__(self, state: TwinState) -> None:
        self._state = state
        self._folder = state.folder / "synapse"
        self._ids = itertools.count(1)
        self.batches: dict[int, Batch] = {}

    def submit(self, options: dict[str, Any]) -> Batch:
        """Take a batch and begin with it."""
        number = next(self._ids)
        folder = self._folder / str(number)
        folder.mkdir(parents=True)
        batch = self.batches[number] = Batch(number, options, folder)
        batch.move("not_started", "Preparation")
        threading.Thread(target=self._bring_forward, args=(batch,), daemon=True, name=f"batch-{number}").start()
        return batch

    def refusal(self, options: dict[str, Any]) -> str | None:
        """Why the workspace cannot take this batch."""
        wanted = options.get("driverCores", 4) + options.get("numExecutors", 2) * options.get("executorCores", 4)
        limit = self._state.knob("synapse", "vcores", 50)
        if wanted > limit:
            return (
                f"Your Spark job requested {wanted} vcores. However, the workspace has a {limit} core limit. Try "
                "reducing the numbers of vcores requested or increasing your vcore quota."
            )
        return None

    def _bring_forward(self, batch: Batch) -> None:
        knob = self._state.knob
        try:
            batch.move("starting", "ResourceAcquisition")
            if batch.ending.wait(knob("synapse", "start_seconds", 0.0)):
                return
            if failure := knob("synapse", "failure"):
                batch.fail(failure["source"], failure["errorCode"], failure["message"])
                return
            batch.app_id = f"application_{int(time.time())}_{batch.id:04d}"
            batch.move("running", "Monitoring")
            self._run(batch)
        except Exception:
            (batch.folder / "stderr").open("a").write(traceback.format_exc())
            batch.fail("System", "TWIN_FAILED", traceback.format_exc())

    def _run(self, batch: Batch) -> None:
        files = Files(batch.folder / "files", self._state)
        if self._state.knob("synapse", "endless"):
            command = [sys.executable, "-c", _ENDLESS]
        else:
            script, *arguments = [files.fetch(text) for text in (batch.options["file"], *batch.options.get("args", ()))]
            configuration = spark_configuration(MASTER) | {
                key: value for key, value in batch.options.get("conf", {}).items() if key.startswith("spark.")
            }
            options = [f"--conf={key}={value}" for key, value in configuration.items()]
            command = [str(spark_home() / "bin" / "spark-submit"), "--master", MASTER, *options, script, *arguments]
        code = self._wait(batch, command)
        if batch.state in FINAL:
            return
        files.put_back()
        if code == 0:
            batch.move("success", "Ended", "Succeeded")
        else:
            said = (batch.folder / "stderr").read_text(errors="replace").strip().splitlines() or [""]
            message = f"[{SPARK_POOL}] [Monitoring] Job failed during run time with state=[dead]: {said[-1]}"
            batch.fail("User", "Spark_Ambiguous_UserApp_JobFailed", message)

    def _wait(self, batch: Batch, command: list[str]) -> int:
        settings = Settings.from_env(
            {**os.environ, **self._state.environment(), "NORIA_HOME": str(self._folder / "home")}
        )
        environment = settings.child_environment() | spark_environment(settings)
        with (batch.folder / "stdout").open("wb") as out, (batch.folder / "stderr").open("wb") as err:
            batch.process = self._state.spawn(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                cwd=batch.folder,
                start_new_session=True,
            )
            if batch.ending.is_set() or self._state.knob("synapse", "killed"):
                batch.end()
            return batch.process.wait()


class Files:
    """The lake as files of this machine, for one batch."""

    def __init__(self, folder: Path, state: TwinState) -> None:
        self._folder = folder
        self._connection = AzureConnection.parse(LAKE, state.connections()[LAKE])
        self._fetched: dict[Path, tuple[float, int]] = {}
        self._lakes: dict[str, Lake] = {}

    def fetch(self, argument: str) -> str:
        """The argument with paths of local files in place of addresses in the lake."""
        return _URL.sub(lambda found: str(self._fetch(found[0])), argument)

    def put_back(self) -> None:
        """Put into the lake what is new or has changed."""
        for root, lake in self._lakes.items():
            folder = self._folder / root
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                if self._fetched.get(file) != _stamp(file):
                    lake.put(file, file.relative_to(folder).as_posix())

    def _fetch(self, url: str) -> Path:
        scheme, _, rest = url.partition("://")
        root, _, path = rest.partition("/")
        if root not in self._lakes:
            self._lakes[root] = open_lake(f"{scheme}://{root}", self._connection)
        target = self._folder / root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        lake = self._lakes[root]
        for found in [path] if lake.exists(path) else lake.list(path):
            file = self._folder / root / found
            file.parent.mkdir(parents=True, exist_ok=True)
            with lake.local(found) as local:
                file.write_bytes(local.read_bytes())
            self._fetched[file] = _stamp(file)
        return target


class Api:
    """What the routes do."""

    def __init__(self, state: TwinState) -> None:
        self._state = state
        self._pool = Pool(state)

    async def listed(self, request: Request) -> Response:
        """A page of batches; `total` counts the page."""
        if wrong := _wrong_address(request, {"from", "size", "detailed"}):
            return wrong
        start, size = int(request.query_params.get("from", 0)), int(request.query_params.get("size", LARGEST_PAGE))
        chosen = list(self._pool.batches.values())[start : start + min(size, LARGEST_PAGE)]
        page = [batch.document(detailed=_detailed(request)) for batch in chosen]
        return JSONResponse({"from": start, "total": len(page), "sessions": page})

    async def submit(self, request: Request) -> Response:
        """Take a batch."""
        if wrong := _wrong_address(request, {"detailed"}):
            return wrong
        length = len(await request.body())
        if length > LONGEST_BODY:
            return _refuse(413, f"The request has {length} bytes; the limit is {LONGEST_BODY}.")
        options = await request.json()
        problem = "; ".join(problems(options)) or self._pool.refusal(options)
        if problem:
            return _refuse(400, problem)
        batch = await run_in_threadpool(self._pool.submit, options)
        self._state.log(f"batch {batch.id} {options['name']}")
        return JSONResponse(batch.document(detailed=_detailed(request)))

    async def one(self, request: Request) -> Response:
        """A batch, or its end."""
        if wrong := _wrong_address(request, {"detailed"}):
            return wrong
        number = request.path_params["number"]
        batch = self._pool.batches.get(number)
        if batch is None:
            return _refuse(404, f"Batch {number} is not there.")
        if request.method == "DELETE":
            await run_in_threadpool(batch.end)
            return JSONResponse({"msg": "deleted"})
        return JSONResponse(batch.document(detailed=_detailed(request)))

    async def driver_log(self, request: Request) -> Response:
        """What the driver has written to standard output or standard error."""
        batch = self._pool.batches.get(request.path_params["number"])
        if batch is None or batch.app_id != request.path_params["application"]:
            return _refuse(404, "There is no such application.")
        file = batch.folder / request.path_params["stream"]
        if file.name not in ("stdout", "stderr") or not file.exists():
            return _refuse(404, "There is no such log.")
        return FileResponse(file, media_type="text/plain")


def app(state: TwinState) -> Starlette:
    """The routes that `azure.synapse.spark.SparkClient` calls, and the driver's log."""
    api = Api(state)
    base = "/livyApi/versions/{version}/sparkPools/{pool}/batches"
    logs = "/sparkhistory/api/v1/sparkpools/{pool}/livyid/{number:int}/applications/{application}/driverlog/{stream}/"
    return Starlette(
        routes=[
            Route(base, api.listed, methods=["GET"]),
            Route(base, api.submit, methods=["POST"]),
            Route(base + "/{number:int}", api.one, methods=["GET", "DELETE"]),
            Route(logs, api.driver_log, methods=["GET"]),
        ]
    )


def problems(options: Any) -> Iterator[str]:
    """What is wrong with a body, by the SDK's own model of it."""
    if not isinstance(options, dict):
        yield "The body is not an object."
        return
    for key, value in options.items():
        if key not in _FIELDS:
            yield f"Could not find member '{key}' on object of type 'SparkBatchJobOptions'"
        elif not _TYPES[_FIELDS[key][0]](value):
            yield f"'{key}' is not of type {_FIELDS[key][0]}"
    for key, (_, required) in _FIELDS.items():
        if required and not options.get(key):
            yield f"'{key}' is required"
    if not _URL.fullmatch(str(options.get("file", ""))):
        yield f"'{options.get('file')}' is not a file that the pool can read"


def _wrong_address(request: Request, known: set[str]) -> JSONResponse | None:
    if request.path_params["version"] != VERSION:
        return _refuse(400, f"No registered resource provider found for API version {request.path_params['version']}.")
    if request.path_params["pool"] != SPARK_POOL:
        return _refuse(404, f"Spark pool {request.path_params['pool']} is not found in workspace noria.")
    unknown = set(request.query_params) - known
    return _refuse(400, f"unknown parameters {sorted(unknown)}") if unknown else None


def _refuse(status: int, message: str) -> JSONResponse:
    """In the form of Livy's gateway, not of Azure Resource Manager."""
    return JSONResponse({"TraceId": "00000000-0000-0000-0000-000000000000", "Message": message}, status_code=status)


def _detailed(request: Request) -> bool:
    return request.query_params.get("detailed", "").lower() == "true"


def _camel(state: str) -> list[str]:
    first, *rest = state.split("_")
    return [first, *(word.capitalize() for word in rest)]


def _stamp(file: Path) -> tuple[float, int]:
    facts = file.stat()
    return facts.st_mtime_ns, facts.st_size
