"""What the control plane remembers, and how it answers: resources in SQLite, errors in Azure's shape.

The knob `deleted` of `management` names a workspace that is gone.
"""

from __future__ import annotations

import functools
import json
import sqlite3
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.azure.twin.ml import bodies
from tests.azure.twin.ml.blobs import Blobs
from tests.azure.twin.state import PRODUCTION_WORKSPACE, WORKSPACE, TwinState

WORKSPACES = (WORKSPACE, PRODUCTION_WORKSPACE)
WRONG_BODIES = "wrong_bodies.txt"
_BASE = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices/workspaces"


class RefusalError(Exception):
    """The service says no, in Azure's shape of an error."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, dict(headers or {})

    def response(self) -> JSONResponse:
        error = {"code": self.code, "message": str(self), "details": [], "additionalInfo": []}
        return JSONResponse({"error": error}, self.status, self.headers)


@dataclass(frozen=True)
class Resource:
    """One resource of a workspace, as it was sent, and what the service knows beside it."""

    workspace: str
    kind: str
    name: str
    version: str
    body: dict[str, Any]
    created_at: str
    modified_at: str

    @property
    def system_data(self) -> dict[str, str]:
        return {
            "createdAt": self.created_at, "createdBy": "noria", "createdByType": "Application",
            "lastModifiedAt": self.modified_at, "lastModifiedBy": "noria", "lastModifiedByType": "Application",
        }  # fmt: skip


class Store:
    """Resources by workspace, kind ("models", "jobs", ...), name and version ("" where a kind has none)."""

    def __init__(self, file: Any) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.execute(
            "create table if not exists resources (number integer primary key autoincrement, workspace, kind, name,"
            " version, body, created_at, modified_at, unique (workspace, kind, name, version))"
        )

    def get(self, workspace: str, kind: str, name: str, version: str = "") -> Resource | None:
        return next(iter(self._rows("name = ? and version = ?", workspace, kind, name, version)), None)

    def all(self, workspace: str, kind: str, name: str | None = None) -> list[Resource]:
        """Oldest first."""
        return self._rows("name = ?", workspace, kind, name) if name else self._rows("1", workspace, kind)

    def put(self, workspace: str, kind: str, name: str, body: dict[str, Any], version: str = "") -> Resource:
        """Create it or replace its body."""
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        with self._lock:
            self._db.execute(
                "insert into resources (workspace, kind, name, version, body, created_at, modified_at)"
                " values (?, ?, ?, ?, ?, ?, ?) on conflict (workspace, kind, name, version)"
                " do update set body = excluded.body, modified_at = excluded.modified_at",
                (workspace, kind, name, version, json.dumps(body), now, now),
            )
            found = self.get(workspace, kind, name, version)
        assert found is not None
        return found

    def delete(self, workspace: str, kind: str, name: str, version: str = "") -> bool:
        with self._lock:
            done = self._db.execute(
                "delete from resources where workspace = ? and kind = ? and name = ? and version = ?",
                (workspace, kind, name, version),
            )
            return done.rowcount > 0

    def lock(self) -> threading.RLock:
        """Held while a resource is read and then written."""
        return self._lock

    def _rows(self, where: str, *values: str) -> list[Resource]:
        with self._lock:
            rows = self._db.execute(
                "select workspace, kind, name, version, body, created_at, modified_at from resources"
                f" where workspace = ? and kind = ? and {where} order by number",
                values,
            ).fetchall()
        return [Resource(*row[:4], json.loads(row[4]), *row[5:]) for row in rows]


@dataclass(frozen=True)
class Call:
    """A request that was let in."""

    method: str
    root: str
    path: str
    subscription: str
    group: str
    workspace: str
    names: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None

    def __getitem__(self, name: str) -> str:
        """A part of the path."""
        return self.names[name]

    @property
    def scope(self) -> str:
        """ARM id of the workspace."""
        return f"{_BASE.format(subscription=self.subscription, group=self.group)}/{self.workspace}"


@dataclass
class Answer:
    """What goes back: a JSON body, or none."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        if self.body is None:
            return Response(status_code=self.status, headers=self.headers)
        return JSONResponse(self.body, self.status, self.headers)


Handler = Callable[["Plane", Call], Answer]


class Plane:
    """The control plane of one twin: its state, and the way requests take through it."""

    def __init__(self, state: TwinState) -> None:
        self.state = state
        self.folder = state.folder / "ml"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store = Store(self.folder / "resources.db")
        self.blobs = Blobs(state)

    def route(self, path: str, handlers: Mapping[str, Handler | tuple[Handler, str]]) -> Route:
        """A path under a workspace ("/models/{name}").

        Args:
            path: What follows the workspace's ARM id.
            handlers: HTTP method -> a function that answers, or that and the model that the body must fit.
        """
        return self.absolute_route(f"{_BASE}/{{workspace}}{path}", handlers)

    def absolute_route(self, path: str, handlers: Mapping[str, Handler | tuple[Handler, str]]) -> Route:
        """The same for a path from the root."""
        return Route(path, functools.partial(self._serve, handlers), methods=list(handlers))

    async def _serve(self, handlers: Mapping[str, Handler | tuple[Handler, str]], request: Request) -> Response:
        chosen = handlers.get(request.method) or handlers["GET"]
        handler, model = chosen if isinstance(chosen, tuple) else (chosen, "")
        try:
            body = await _json(request)
            return (await run_in_threadpool(self._answer, handler, model, request, body)).response()
        except RefusalError as refusal:
            return refusal.response()

    def _answer(self, handler: Handler, model: str, request: Request, body: Any) -> Answer:
        names = dict(request.path_params)
        call = Call(
            root=self.state.url("management"),
            method=request.method,
            path=request.url.path,
            subscription=names.pop("subscription", ""),
            group=names.pop("group", ""),
            workspace=names.pop("workspace", ""),
            names=names,
            query=dict(request.query_params),
            body=body,
        )
        self._find(call)
        if model:
            self.check(model, body, f"{call.method} {call.path}")
        return handler(self, call)

    def _find(self, call: Call) -> None:
        """The way to the workspace: api-version, subscription, resource group, workspace."""
        if not call.query.get("api-version"):
            raise RefusalError(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        if call.subscription != self.state.subscription:
            raise RefusalError(
                404, "SubscriptionNotFound", f"The subscription '{call.subscription}' could not be found."
            )
        if call.group and call.group != self.state.resource_group:
            raise RefusalError(404, "ResourceGroupNotFound", f"Resource group '{call.group}' could not be found.")
        if call.workspace and call.workspace not in self.workspaces:
            what = f"Microsoft.MachineLearningServices/workspaces/{call.workspace}"
            raise RefusalError(
                404, "ResourceNotFound", f"The Resource '{what}' under resource group '{call.group}' was not found."
            )

    @property
    def workspaces(self) -> tuple[str, ...]:
        """Those that there are."""
        return tuple(w for w in WORKSPACES if w != self.state.knob("management", "deleted"))

    def check(self, model: str, body: Any, where: str) -> None:
        """Refuse a body that does not fit Azure's own model of it, and keep what was wrong for the test."""
        if found := bodies.faults(model, body):
            text = "; ".join(found)
            with (self.folder / WRONG_BODIES).open("a") as file:
                file.write(f"{where}: {text}\n")
            raise RefusalError(400, "InvalidRequestBody", f"The request body is invalid: {text}")


async def _json(request: Request) -> Any:
    raw = await request.body()
    if not raw:
        return None
    try:
        return json.loads(raw)
    except ValueError:
        raise RefusalError(
            400, "InvalidRequestContent", "The request content was invalid and could not be parsed."
        ) from None


def workspace_id(workspace: str) -> str:
    """The GUID of a workspace."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, workspace))
