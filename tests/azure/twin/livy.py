"""Synapse's Livy API and the driver logs of its history server: what is submitted really runs, on local Spark.

How a batch runs is in spark_job.py.

Knobs of `synapse`: `start_seconds` (a pool that is slow to start), `failure` (`{"source", "errorCode", "message"}`: the
batch is dead before its application runs), `endless` (the job never ends), `killed` (somebody else ends it), `vcores`
(the workspace's limit).
"""

from __future__ import annotations

import contextlib
import itertools
import json
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
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.azure.twin.children import CHILDREN
from tests.azure.twin.state import CHECKOUT, SPARK_POOL, TwinState

VERSION = "2022-02-22-preview"
LARGEST_PAGE = 20
LONGEST_BODY = 100_000
_URL = re.compile(r"abfss?://[^\s]+")
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
        before = (int(folder.name) for folder in self._folder.glob("[0-9]*"))
        self._ids = itertools.count(max(before, default=0) + 1)  # a pool does not count anew when the twin starts again
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
        code = self._wait(batch)
        if batch.state in FINAL:
            return
        if code == 0:
            batch.move("success", "Ended", "Succeeded")
        else:
            said = "\n".join((batch.folder / stream).read_text(errors="replace") for stream in ("stderr", "stdout"))
            last = said.strip().rpartition("\n")[2]
            message = f"[{SPARK_POOL}] [Monitoring] Job failed during run time with state=[dead]: {last}"
            batch.fail("User", "Spark_Ambiguous_UserApp_JobFailed", message)

    def _wait(self, batch: Batch) -> int:
        """Run it in a process group of its own; its exit code."""
        (batch.folder / "options.json").write_text(json.dumps(batch.options))
        command = [sys.executable, "-m", "tests.azure.twin.spark_job", str(batch.folder)]
        if self._state.knob("synapse", "endless"):
            command = [sys.executable, "-c", _ENDLESS, "for ever", batch.options["name"]]  # to be told from others
        environment = {**os.environ, **self._state.environment(), "NORIA_HOME": str(self._folder / "home")}
        with (batch.folder / "stdout").open("wb") as out, (batch.folder / "stderr").open("wb") as err:
            batch.process = CHILDREN.spawn(
                command,
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                start_new_session=True,
            )
            if batch.ending.is_set() or self._state.knob("synapse", "killed"):
                batch.end()
            return batch.process.wait()


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
        return Response(file.read_bytes(), media_type="text/plain")  # it grows, so no FileResponse


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
