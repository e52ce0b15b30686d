"""Key Vault: reading secrets, by name and as a list."""

from __future__ import annotations

import time

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.azure.twin.state import TwinState


def app(state: TwinState) -> Starlette:
    """GET /secrets, /secrets/NAME, /secrets/NAME/VERSION."""

    def bundle(name: str) -> dict[str, object]:
        now = int(time.time())
        return {
            "id": f"{state.url('vault')}/secrets/{name}/0123456789abcdef0123456789abcdef",
            "attributes": {"enabled": True, "created": now, "updated": now, "recoveryLevel": "Purgeable"},
            "tags": {},
        }

    async def read(request: Request) -> Response:
        name = request.path_params["name"].lower()
        if name not in state.vault:
            message = f"A secret with (name/id) {name} was not found in this key vault."
            return JSONResponse({"error": {"code": "SecretNotFound", "message": message}}, status_code=404)
        return JSONResponse(bundle(name) | {"value": state.vault[name]})

    async def every(_request: Request) -> Response:
        return JSONResponse({"value": [bundle(name) for name in sorted(state.vault)], "nextLink": None})

    return Starlette(
        routes=[
            Route("/secrets", every),
            Route("/secrets/{name}", read),
            Route("/secrets/{name}/{version:path}", read),
        ]
    )
