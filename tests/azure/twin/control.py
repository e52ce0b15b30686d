"""How tests tell the twin to misbehave, and ask what it has seen: /_twin/... on the plain port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from tests.azure.twin import identity
from tests.azure.twin.recording import Recorder
from tests.azure.twin.state import HOSTS, Fault, TwinState


def app(state: TwinState, stop: Callable[[], None]) -> Starlette:
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
    return Starlette(
        routes=[Mount("/_twin", routes=own), Mount("/", app=Recorder("identity", identity.app(state), state))]
    )


def _done() -> Response:
    return JSONResponse({})
