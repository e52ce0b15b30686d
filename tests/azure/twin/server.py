"""The twin's two ports: TLS with a service for each host name, and plain HTTP for identity and control."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
from collections.abc import Callable, Generator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from filelock import FileLock
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.azure.twin import control, storage
from tests.azure.twin.certificate import Certificate
from tests.azure.twin.children import CHILDREN
from tests.azure.twin.recording import Recorder, drain
from tests.azure.twin.state import HOSTS, TwinState
from tests.azure.twin.tokens import refusal

KEEP_ALIVE_SECONDS = 60


@dataclass(frozen=True)
class Service:
    """One line of the table of services.

    Attributes:
        module: Where its `app(state)` is.
        audiences: What tokens must be for; `{port}` is the twin's.
        challenge: The resource that a refused caller is told to ask a token for.
        open: Paths that are told to anybody.
    """

    module: str
    audiences: tuple[str, ...]
    challenge: str
    open: tuple[str, ...] = ()


SERVICES = {
    "storage": Service("storage", (storage.AUDIENCE, "https://{host}"), storage.AUDIENCE),
    "vault": Service(
        "vault", ("https://vault.localhost:{port}", "https://vault.azure.net"), "https://vault.localhost:{port}"
    ),
    "synapse": Service("livy", ("https://dev.azuresynapse.net",), "https://dev.azuresynapse.net"),
    "management": Service(
        "ml",
        (
            "https://{host}:{port}",
            "https://management.azure.com",
            "https://management.core.windows.net",
            "https://ml.azure.com",
        ),
        "https://management.azure.com",
        open=("/discovery",),
    ),
}


class Door:
    """Lets in who has a valid token for the service, or for storage who signs with a key."""

    def __init__(self, name: str, app: ASGIApp, state: TwinState) -> None:
        service = SERVICES[name]
        place = {"host": HOSTS[name], "port": state.port}
        self._app, self._state, self._signed_too = app, state, name == "storage"
        self._open = service.open
        self._audiences = [audience.format(**place) for audience in service.audiences]
        self._challenge = (
            f'Bearer authorization="{state.url("management")}/{state.tenant}", '
            f'resource="{service.challenge.format(**place)}"'
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        why = refusal(self._state, authorization, self._audiences)
        if why is None or scope["path"] in self._open or (self._signed_too and self._is_signed(authorization, scope)):
            await self._app(scope, receive, send)
            return
        code = "InvalidAuthenticationInfo" if self._signed_too else "InvalidAuthenticationToken"
        answer = JSONResponse(
            {"error": {"code": code, "message": f"Authentication failed: {why}."}},
            status_code=401,
            headers={"WWW-Authenticate": self._challenge, "x-ms-error-code": code},
        )
        await drain(receive)
        await answer(scope, receive, send)

    @staticmethod
    def _is_signed(authorization: str, scope: Scope) -> bool:
        """Azurite judges these itself."""
        return authorization.lower().startswith("sharedkey") or b"sig=" in scope["query_string"]


class Hosts:
    """Chooses the service by the host name."""

    def __init__(self, services: dict[str, ASGIApp]) -> None:
        self._by_host = {HOSTS[name]: app for name, app in services.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1").partition(":")[0].lower()
        app = self._by_host.get(host)
        if app is None:
            known = ", ".join(self._by_host)
            app = JSONResponse({"error": f"the twin has no {host}; it has {known}"}, status_code=501)
        await app(scope, receive, send)


class _Server(uvicorn.Server):
    """Without signal handlers: two servers share this process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


COMMON = {
    "lifespan": "off",
    "ws": "none",
    "log_level": "error",
    "access_log": False,
    "timeout_keep_alive": KEEP_ALIVE_SECONDS,
    "timeout_graceful_shutdown": 0,
    "server_header": False,
}


async def serve(folder: Path, *, stop: asyncio.Event, ready: Callable[[TwinState], None]) -> None:
    """Run the twin until `stop` is set.

    Args:
        folder: All its state.
        stop: Set by whoever wants it to end.
        ready: Called once everything answers.

    Raises:
        AzuriteError: Azurite is not installed or did not start.
        Timeout: Another twin has the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock", blocking=False), _listener(folder / "port") as tls, _listener() as plain:
        certificate = Certificate.make(folder / "tls")
        state = TwinState(folder, tls.getsockname()[1], plain.getsockname()[1], certificate)
        async with AsyncExitStack() as undo:
            undo.callback(CHILDREN.end)
            services = {name: await _started(name, state, undo) for name in SERVICES}
            pem = {"ssl_certfile": certificate.certificate, "ssl_keyfile": certificate.key}
            await _run(undo, _Server(uvicorn.Config(Hosts(services), **COMMON, **pem)), tls)
            await _run(undo, _Server(uvicorn.Config(control.app(state, stop.set), **COMMON)), plain)
            ready(state)
            await stop.wait()


async def _started(name: str, state: TwinState, undo: AsyncExitStack) -> ASGIApp:
    app: Starlette = importlib.import_module(f"tests.azure.twin.{SERVICES[name].module}").app(state)
    await undo.enter_async_context(app.router.lifespan_context(app))
    return Recorder(name, Door(name, app, state), state)


async def _run(undo: AsyncExitStack, server: uvicorn.Server, listener: socket.socket) -> None:
    task = asyncio.create_task(server.serve(sockets=[listener]))

    async def end() -> None:
        server.should_exit = True
        await task

    undo.push_async_callback(end)
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.01)


def _listener(note: Path | None = None) -> socket.socket:
    """A free port; if there is a note, the one of last time, since URLs that were kept hold it."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or every other answer takes 40 ms more
    try:
        listener.bind(("127.0.0.1", int(note.read_text()) if note and note.exists() else 0))
    except OSError:
        listener.bind(("127.0.0.1", 0))
    if note:
        note.write_text(str(listener.getsockname()[1]))
    return listener
