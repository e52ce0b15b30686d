"""The managed-identity endpoint as App Service has it: plain HTTP on loopback, a header that only the host knows."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.azure.twin.state import TwinState
from tests.azure.twin.tokens import mint


def app(state: TwinState) -> Starlette:
    """GET /msi/token?api-version=2019-08-01&resource=X."""

    async def token(request: Request) -> Response:
        resource = request.query_params.get("resource")
        if request.headers.get("x-identity-header") != state.identity_header:
            return _refuse(403, "the X-IDENTITY-HEADER is not the host's")
        if not resource or request.query_params.get("api-version") != "2019-08-01":
            return _refuse(400, "resource and api-version=2019-08-01 are needed")
        client_id = request.query_params.get("client_id", "system-assigned")
        text, expires = mint(state, resource, client_id)
        return JSONResponse(
            {
                "access_token": text,
                "expires_on": str(expires),
                "resource": resource,
                "token_type": "Bearer",
                "client_id": client_id,
            }
        )

    return Starlette(routes=[Route("/msi/token", token)])


def _refuse(status: int, message: str) -> JSONResponse:
    return JSONResponse({"statusCode": status, "message": message}, status_code=status)
