"""What every request passes: it is recorded, and mistreated where a test has asked for that."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.azure.twin.state import Fault, Seen, TwinState

_SIGNATURE = re.compile(r"(^|&)sig=[^&]*")


class Recorder:
    """ASGI middleware around one service.

    It has to be the outermost: it reaches through `send` for the connection when an answer is to get lost.
    """

    def __init__(self, service: str, app: ASGIApp, state: TwinState) -> None:
        self._service, self._app, self._state = service, app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0]
        query = scope["query_string"].decode("latin-1")
        seen = Seen(self._service, scope["method"], path, _SIGNATURE.sub(r"\1sig=***", query))
        self._state.seen.append(seen)
        fault = self._state.fault(self._service, scope["method"], f"{path}?{query}")
        seen.fault = fault is not None

        async def receive_counted() -> Message:
            message = await receive()
            seen.bytes_in += len(message.get("body", b""))
            return message

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
            seen.bytes_out += len(message.get("body", b""))
            await send(message)

        begun = time.monotonic()
        try:
            await self._answer(scope, receive_counted, send_counted, send, fault)
        finally:
            seen.seconds = round(time.monotonic() - begun, 4)
            if fault is not None and fault.lose_response:
                seen.status = None

    async def _answer(self, scope: Scope, receive: Receive, send: Send, raw: Send, fault: Fault | None) -> None:
        if fault is not None and fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        if fault is not None and fault.lose_response:
            await self._lose(scope, receive, raw)
        elif fault is not None and fault.status is not None:
            await _refuse(fault, receive, send)
        else:
            await self._app(scope, receive, _held(send, fault.hold_seconds) if fault else send)

    async def _lose(self, scope: Scope, receive: Receive, raw: Send) -> None:
        """Let the service do its work to the end; the caller sees its connection break."""

        async def swallow(_message: Message) -> None:
            return

        try:
            await self._app(scope, receive, swallow)
        finally:
            cycle: Any = raw.__self__  # type: ignore[attr-defined]  # uvicorn's RequestResponseCycle
            cycle.transport.abort()
            cycle.disconnected = True


async def drain(receive: Receive) -> None:
    """Read a request to its end, so that its sender reads the answer instead of failing to write."""
    more = True
    while more:
        more = (await receive()).get("more_body", False)


def _held(send: Send, seconds: float) -> Send:
    async def later(message: Message) -> None:
        if message["type"] == "http.response.start":
            await asyncio.sleep(seconds)
        await send(message)

    return later


async def _refuse(fault: Fault, receive: Receive, send: Send) -> None:
    await drain(receive)
    body = (fault.body or "").encode()
    headers = {"content-type": "application/json", **{k.lower(): v for k, v in fault.headers.items()}}
    headers["content-length"] = str(len(body))
    raw = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
    assert fault.status is not None
    await send({"type": "http.response.start", "status": fault.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
