"""How tests tell the twin to misbehave, and ask what it has seen: /_twin/... on the plain port.

Who may set a knob can have a command run, and who may ask can have every secret: only the starter has the token, and a
web page cannot send it, nor JSON, nor reach this port by a name of its own (DNS rebinding).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.azure.twin import identity
from tests.azure.twin.recording import Recorder
from tests.azure.twin.state import HOSTS, TOKEN_HEADER, Fault, TwinState


def app(state: TwinState, stop: Callable[[], None]) -> ASGIApp:
    """Control, and the identity endpoint beside it.

    Args:
        state: Of the twin.
        stop: Ends the twin.
    """

    async def fault(request: Request) -> Response:
        state.faults.append(Fault(**await request.json()))
        return _done()

    async def knobs(request: Request) -> Response:
        wanted: dict[str, Any] = await request.json()
        state.knobs.setdefault(wanted["service"], {}).update(wanted["knobs"])
        return _done()

    async def secret(request: Request) -> Response:
        wanted = await request.json()
        state.vault[wanted["name"].lower()] = state.plant(wanted["value"])
        return _done()

    async def requests(request: Request) -> Response:
        wanted = [request.query_params.get(name) for name in ("service", "method", "path")]
        return JSONResponse(state.requests(*wanted))

    async def planted(_request: Request) -> Response:
        return JSONResponse(list(state.planted))

    async def facts(_request: Request) -> Response:
        urls = {service: state.url(service) for service in HOSTS}
        told = {"environment": state.environment(), "airflow_environment": state.airflow_environment()}
        return JSONResponse(
            told | {"connection_string": state.connection_string, "lake_url": state.lake_url()} | {"urls": urls}
        )

    async def reset(_request: Request) -> Response:
        state.reset()
        return _done()

    async def end(_request: Request) -> Response:
        stop()
        return _done()

    own = [
        Route("/faults", fault, methods=["POST"]),
        Route("/knobs", knobs, methods=["POST"]),
        Route("/secrets", secret, methods=["POST"]),
        Route("/requests", requests),
        Route("/planted", planted),
        Route("/facts", facts),
        Route("/reset", reset, methods=["POST"]),
        Route("/stop", end, methods=["POST"]),
    ]
    told = _Told(Starlette(routes=own), state)
    return _Here(
        Starlette(routes=[Mount("/_twin", app=told), Mount("/", app=Recorder("identity", identity.app(state), state))]),
        state,
    )


class _Here:
    """Lets in who calls this port by its address."""

    def __init__(self, app: ASGIApp, state: TwinState) -> None:
        self._app, self._host = app, state.url("control").removeprefix("http://")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if Request(scope).headers.get("host") != self._host:
            app = JSONResponse({"error": f"the Host is not {self._host}"}, status_code=421)
        await app(scope, receive, send)


class _Told:
    """Lets in who was told the token, and of POST only JSON."""

    def __init__(self, app: ASGIApp, state: TwinState) -> None:
        self._app, self._token = app, state.control_token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, app = Request(scope), self._app
        if not hmac.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), self._token):
            app = JSONResponse({"error": f"{TOKEN_HEADER} is not what the starter was told"}, status_code=403)
        elif request.method == "POST" and request.headers.get("content-type") != "application/json":
            app = JSONResponse({"error": "the Content-Type is not application/json"}, status_code=415)
        await app(scope, receive, send)


def _done() -> Response:
    return JSONResponse({})
