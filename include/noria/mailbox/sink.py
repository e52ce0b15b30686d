"""An SMTP server on loopback that keeps every mail it is given and sends none on."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import uuid
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from aiosmtpd.smtp import SMTP, Envelope, Session

from noria.errors import NoriaError

HOST = "127.0.0.1"
MAX_BYTES = 32 * 1024 * 1024


class MailSink:
    """The server for the length of a context, in a thread of its own.

    Args:
        folder: Where mails are kept, one .eml file each; the names sort by the time of arrival.
        port: To listen on; 0 for any free one.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._folder, self._wanted_port = folder, port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="mail sink", daemon=True)
        self._ready: Future[int] = Future()
        self._stop = asyncio.Event()

    def __enter__(self) -> MailSink:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._thread.start()
        try:
            self.port = self._ready.result(timeout=10)
        except OSError as error:
            raise NoriaError(f"the mail sink cannot listen on {HOST}:{self._wanted_port}: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=5)

    def _serve(self) -> None:
        try:
            self._loop.run_until_complete(self._listen())
        finally:
            self._loop.close()

    async def _listen(self) -> None:
        handler = _Keeper(self._folder)
        try:
            server = await self._loop.create_server(
                lambda: SMTP(handler, hostname="localhost", data_size_limit=MAX_BYTES, loop=self._loop),
                HOST,
                self._wanted_port,
                family=socket.AF_INET,
            )
        except OSError as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result(server.sockets[0].getsockname()[1])
        async with server:
            await self._stop.wait()


class _Keeper:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content or b""
        try:
            keep(self._folder, content if isinstance(content, bytes) else content.encode())
        except OSError as error:
            return f"452 cannot keep the mail: {error.strerror}"
        return "250 kept"


def keep(folder: Path, content: bytes) -> Path:
    """Write one mail whole, readable by its owner only."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:8]}.eml"
    staged = folder / f".{name}"
    try:
        with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        return staged.rename(folder / name)
    finally:
        staged.unlink(missing_ok=True)
