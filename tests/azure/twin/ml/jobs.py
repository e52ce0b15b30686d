"""Jobs: taken, queued, run, followed and ended; their details as run history tells them.

The knobs of `management`: `queue_seconds` (a slow pool), `command` (run this instead of what was sent), `fail_with`
({"code", "message"}: it fails before it runs), `quota_full` (a job is not taken).
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.azure.twin.ml.mlflow_server import MlflowServer
from tests.azure.twin.ml.runner import Outcome, Runner, Work, seconds_of, snapshot, substitute
from tests.azure.twin.ml.state import WORKSPACES, Answer, Call, Plane, RefusalError, Resource
from tests.azure.twin.state import COMPUTE

FINAL = ("Completed", "Failed", "Canceled")
_CHANGEABLE = ("tags", "description", "displayName", "isArchived", "properties")
_HISTORY = (
    "/history/v1.0/subscriptions/{subscription}/resourceGroups/{group}"
    "/providers/Microsoft.MachineLearningServices/workspaces/{workspace}/runs/{name}/details"
)


def routes(plane: Plane) -> list[Route]:
    jobs = Jobs(plane)

    async def discovery(_request: Request) -> Response:
        root = plane.state.url("management")
        return JSONResponse({"api": root, "history": root, "catalog": root, "experimentation": root, "studio": root})

    return [
        plane.route("/jobs", {"GET": jobs.list}),
        plane.route("/jobs/{name}", {"GET": jobs.get, "PUT": (jobs.put, "JobBase")}),
        plane.route("/jobs/{name}/cancel", {"POST": jobs.cancel}),
        plane.absolute_route(_HISTORY, {"GET": jobs.details}),
        Route("/discovery", discovery),
    ]


class Execution(threading.Thread):
    """A job from its creation to its end."""

    def __init__(self, jobs: Jobs, workspace: str, name: str, properties: dict[str, Any]) -> None:
        super().__init__(daemon=True, name=f"job-{name}")
        self.jobs, self.plane = jobs, jobs.plane
        self.workspace, self.job, self.properties = workspace, name, properties
        self.status = "NotStarted"
        self.outcome = Outcome("")
        self.facts: dict[str, str] = {}
        self.times: dict[str, str] = {}
        self.runners: list[Runner] = []
        self._cancelled = threading.Event()
        self._lock = threading.Lock()

    def run(self) -> None:
        try:
            self.outcome = self._live()
        except Exception as error:
            self.plane.state.log(f"job {self.job}: {traceback.format_exc()}")
            self.outcome = Outcome("Failed", "SystemError", f"the twin failed: {error}")
        self.times["endTimeUtc"] = datetime.now(UTC).isoformat()
        self.status = self.outcome.status

    def cancel(self) -> None:
        """Ask for its end."""
        with self._lock:
            self._cancelled.set()
            if self.status not in FINAL:
                self.status = "CancelRequested"
            for runner in self.runners:
                runner.cancel()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def logs(self) -> dict[str, Any]:
        """Name -> file."""
        return {name: file for runner in self.runners[:1] for name, file in runner.logs().items()}

    def runner(self, work: Work) -> Runner:
        """A runner that ends when the job is cancelled."""
        runner = Runner(self.plane, work)
        with self._lock:
            self.runners.append(runner)
            if self.cancelled:
                runner.cancel()
        return runner

    def step(self, status: str) -> None:
        """Go on, unless it is being cancelled."""
        with self._lock:
            if not self.cancelled:
                self.status = status
                if status == "Running":
                    self.times.setdefault("startTimeUtc", datetime.now(UTC).isoformat())

    def execute(self) -> Outcome:
        """What the kind of job does once it has its machines."""
        raise NotImplementedError

    def _live(self) -> Outcome:
        knob = self.plane.state.knob
        self.step("Starting")
        begun = time.monotonic()
        while time.monotonic() < begun + knob("management", "queue_seconds", 0) and not self.cancelled:
            self.step("Queued")
            self._cancelled.wait(0.1)  # a knob that is turned back lets the job go on
        self.step("Preparing")
        if told := knob("management", "fail_with"):
            return Outcome("Failed", **told)
        if self.cancelled:
            return Outcome("Canceled")
        return self.execute()


class CommandExecution(Execution):
    """A command job."""

    def execute(self) -> Outcome:
        properties, mlflow = self.properties, self.jobs.mlflow
        if code_id := properties.get("codeId"):
            snapshot(self.plane, code_id)  # while MLflow starts
        values = {"inputs": {k: v.get("value", v.get("uri")) for k, v in (properties.get("inputs") or {}).items()}}
        run_id = mlflow.create_run(
            properties.get("experimentName") or "Default", self.job, properties.get("tags") or {}
        )
        self.facts["mlflow_run_id"] = run_id
        limits = properties.get("limits") or {}
        runner = self.runner(
            Work(
                workspace=self.workspace,
                name=self.job,
                command=self.jobs.command(substitute(properties["command"], values)),
                code_id=properties.get("codeId"),
                variables=properties.get("environmentVariables") or {},
                nodes=(properties.get("resources") or {}).get("instanceCount") or 1,
                distributed=(properties.get("distribution") or {}).get("distributionType") == "PyTorch",
                timeout_seconds=seconds_of(limits.get("timeout")),
                tracking={"MLFLOW_TRACKING_URI": mlflow.url, "MLFLOW_RUN_ID": run_id},
            )
        )
        runner.prepare()
        self.step("Running")
        outcome = runner.run()
        mlflow.end_run(run_id, {"Completed": "FINISHED", "Failed": "FAILED"}.get(outcome.status, "KILLED"))
        return outcome


def _kinds() -> dict[str, Callable[..., Execution]]:
    from tests.azure.twin.ml.parallel import ParallelExecution
    from tests.azure.twin.ml.sweep import SweepExecution

    return {"Command": CommandExecution, "Sweep": SweepExecution, "Pipeline": ParallelExecution}


def _unfit(properties: dict[str, Any]) -> str | None:
    """Why a job of a kind that there is cannot be run."""
    from tests.azure.twin.ml import parallel, sweep

    check = {"Sweep": sweep.refused, "Pipeline": parallel.refused}.get(properties["jobType"])
    return check(properties) if check else None


class Jobs:
    """All jobs of the twin."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.mlflow = MlflowServer(plane.state, plane.folder / "mlflow")
        self._executions: dict[tuple[str, str], Execution] = {}
        for workspace in WORKSPACES:  # jobs of an earlier start of the twin have ended with it
            for job in plane.store.all(workspace, "jobs"):
                plane.store.delete(workspace, "jobs", job.name)

    def command(self, sent: str) -> str:
        """What is run: what was sent, unless a test has asked for something else."""
        return str(self.plane.state.knob("management", "command") or sent)

    def put(self, plane: Plane, call: Call) -> Answer:
        with plane.store.lock():
            known = plane.store.get(call.workspace, "jobs", call["name"])
            if known is not None:
                return self._put_again(call, known)
            self._check(call)
            resource = plane.store.put(call.workspace, "jobs", call["name"], call.body)
            kind = call.body["properties"]["jobType"]
            execution = _kinds()[kind](self, call.workspace, call["name"], call.body["properties"])
            self._executions[call.workspace, call["name"]] = execution
        self.mlflow.start()
        execution.start()
        return Answer(self._wire(call, resource), 201)

    def get(self, plane: Plane, call: Call) -> Answer:
        return Answer(self._wire(call, self._find(call)))

    def list(self, plane: Plane, call: Call) -> Answer:
        return Answer({"value": [self._wire(call, r) for r in reversed(plane.store.all(call.workspace, "jobs"))]})

    def cancel(self, plane: Plane, call: Call) -> Answer:
        execution = self._executions[call.workspace, self._find(call).name]
        if execution.status in FINAL:
            raise RefusalError(400, "UserError", f"The job {call['name']} has ended already ({execution.status}).")
        execution.cancel()
        return Answer(
            status=202, headers={"Location": f"{call.root}{call.path}?api-version={call.query['api-version']}"}
        )

    def details(self, plane: Plane, call: Call) -> Answer:
        """Run history's page of a run: status, error, and the log files under signed URLs."""
        resource = self._find(call)
        execution = self._executions[call.workspace, resource.name]
        error = None
        if execution.outcome.code:
            found = {"code": execution.outcome.code, "message": execution.outcome.message, "details": []}
            error = {"error": found, "time": datetime.now(UTC).isoformat()}
        prefix = f"ExperimentRun/dcid.{resource.name}"
        files = plane.blobs.publish({f"{prefix}/{name}": file for name, file in execution.logs().items()})
        return Answer(
            {
                "runId": resource.name,
                "status": execution.status,
                **execution.times,
                "error": error,
                "warnings": [],
                "properties": {},
                "tags": resource.body["properties"].get("tags") or {},
                "logFiles": {name.removeprefix(f"{prefix}/"): url for name, url in files.items()},
            }
        )

    def _put_again(self, call: Call, known: Resource) -> Answer:
        """The same job once more is that job; another one under its name is refused."""
        sent, before = call.body["properties"], known.body["properties"]
        differs = [k for k in {*sent, *before} if k not in _CHANGEABLE and sent.get(k) != before.get(k)]
        if differs:
            text = f"Job {known.name} exists; its properties {', '.join(sorted(differs))} are immutable."
            raise RefusalError(400, "UserError", text)
        return Answer(self._wire(call, known))

    def _check(self, call: Call) -> None:
        properties = call.body["properties"]
        if properties["jobType"] not in _kinds():
            raise RefusalError(501, "NotImplemented", f"the twin runs no jobs of the kind {properties['jobType']}")
        if why := _unfit(properties):
            raise RefusalError(400, "UserError", why)
        if self.plane.state.knob("management", "quota_full"):
            text = (
                "Operation could not be completed as it results in exceeding approved standardDSv2Family Cores quota. "
                "Additional details - Deployment Model: Resource Manager, Location: westeurope, Current Limit: 24, "
                "Current Usage: 24, Additional Required: 4."
            )
            raise RefusalError(409, "QuotaExceeded", text)
        if (compute := properties.get("computeId")) and compute.rpartition("/")[2] != COMPUTE:
            raise RefusalError(400, "UserError", f"Compute {compute.rpartition('/')[2]} was not found.")
        for key, kind in (("codeId", "codes"), ("environmentId", "environments")):
            self.must_exist(call, (properties.get("trial") or properties).get(key), kind)

    def must_exist(self, call: Call, arm_id: str | None, kind: str) -> None:
        """Refuse an id of an asset that is not there."""
        if arm_id is None:
            return
        name, _, version = arm_id.rpartition(f"/{kind}/")[2].partition("/versions/")
        if self.plane.store.get(call.workspace, kind, name, version) is None:
            raise RefusalError(400, "UserError", f"{arm_id} was not found.")

    def _find(self, call: Call) -> Resource:
        found = self.plane.store.get(call.workspace, "jobs", call["name"])
        if found is None:
            raise RefusalError(404, "UserError", f"Not found: job {call['name']} in workspace {call.workspace}.")
        return found

    def _wire(self, call: Call, resource: Resource) -> dict[str, Any]:
        execution = self._executions[call.workspace, resource.name]
        sent = resource.body["properties"]
        studio = f"https://ml.azure.com/runs/{resource.name}?wsid={call.scope}"
        service = {"jobServiceType": "Studio", "endpoint": studio, "status": None, "errorMessage": None}
        return {
            "id": f"{call.scope}/jobs/{resource.name}",
            "name": resource.name,
            "type": "Microsoft.MachineLearningServices/workspaces/jobs",
            "systemData": resource.system_data,
            "properties": {
                **sent,
                "tags": sent.get("tags") or {},
                "properties": {**(sent.get("properties") or {}), **execution.facts},
                "status": execution.status,
                "services": {"Studio": service},
            },
        }
