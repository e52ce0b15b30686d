"""Blob storage: a reverse proxy before a real Azurite, which streams both ways."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator

import aiohttp
import yarl
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from tests.azure.twin import azurite
from tests.azure.twin.state import HOSTS, TwinState
from tests.azure.twin.tokens import mint

AUDIENCE = "https://storage.azure.com"
BLOCK_BYTES = 256 * 1024
HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade", b"expect"}


class _GoneError(Exception):
    """The caller went away in the middle of its request."""


class Storage:
    """The proxy and what is behind it."""

    def __init__(self, state: TwinState) -> None:
        self._state = state
        self._session: aiohttp.ClientSession | None = None
        self._upstream = ""

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Start Azurite and make the lake's container; Azurite itself ends with all children.

        Raises:
            azurite.AzuriteError: It did not start.
        """
        state = self._state
        port = azurite.start(state.folder / "azurite", state.certificate, state.account, state.account_key)
        self._upstream = f"https://127.0.0.1:{port}"
        self._state.azurite_port = port
        trust = ssl.create_default_context(cafile=str(self._state.certificate.bundle))
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=trust),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            trust_env=False,
        ) as self._session:
            await self._make_container(self._session)
            yield

    async def _make_container(self, session: aiohttp.ClientSession) -> None:
        token, _expires = mint(self._state, AUDIENCE)
        headers = {
            "Host": f"{HOSTS['storage']}:{self._state.port}",
            "Authorization": f"Bearer {token}",
            "x-ms-version": "2023-11-03",
        }
        url = f"{self._upstream}/{self._state.container}?restype=container"
        async with session.put(url, headers=headers) as answer:
            if answer.status not in (201, 409):
                raise azurite.AzuriteError(f"Azurite made no container: {answer.status} {await answer.text()}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._pass_on(scope, receive, send)
        except _GoneError:
            self._state.log(f"storage: the caller went away in the middle of {scope['method']} {scope['path']}")

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._session is not None
        target = scope["raw_path"].decode("latin-1").partition("?")[0]
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"] if k not in HOP_BY_HOP]
        has_body = any(k in (b"content-length", b"transfer-encoding") for k, _ in scope["headers"])
        async with self._session.request(
            scope["method"],
            yarl.URL(self._upstream + target, encoded=True),
            headers=headers,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            data=_body(receive) if has_body else None,
            allow_redirects=False,
        ) as answer:
            raw = [(k.lower(), v) for k, v in answer.raw_headers if k.lower() not in HOP_BY_HOP]
            await send({"type": "http.response.start", "status": answer.status, "headers": raw})
            async for block in answer.content.iter_chunked(BLOCK_BYTES):
                await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


def app(state: TwinState) -> Starlette:
    """The proxy, with Azurite for the length of its lifespan."""
    storage = Storage(state)
    return Starlette(routes=[Mount("/", app=storage)], lifespan=storage.lifespan)


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        if block := message.get("body"):
            yield block
        if not message.get("more_body", False):
            return
