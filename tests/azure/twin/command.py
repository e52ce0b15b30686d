"""The command line of the twin."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import signal
import sys
import threading
from pathlib import Path

from tests.azure.twin import azurite
from tests.azure.twin.state import TwinState

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: list[str] | None = None) -> int:
    """Read the arguments and do as they say; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.azure.twin", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, help="where all its state goes (default: twin under NORIA_HOME or ./var)"
    )
    parser.add_argument(
        "--allow", action="append", default=[], metavar="NAME", help="a name that the guard lets through"
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND ...: run this on the twin")
    wanted = parser.parse_args(arguments)
    folder = (wanted.folder or Path(os.environ.get("NORIA_HOME") or "var") / "twin").resolve()
    allows = tuple(wanted.allow)
    if wanted.serve:
        return _serve(folder, allows)
    if problem := azurite.missing():
        print(f"twin: {problem}", file=sys.stderr)
        return 2
    from tests.azure.twin.runner import run

    return run(folder, allows, wanted.command[1:] if wanted.command[:1] == ["--"] else wanted.command)


def _serve(folder: Path, allows: tuple[str, ...]) -> int:
    """Be the twin: say where it is in one line of JSON, and end when standard input does."""

    async def serve() -> None:
        from tests.azure.twin.server import serve as serve_twin

        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, stop.set)

        def watch() -> None:
            while os.read(0, 4096):  # not sys.stdin: its lock would be held when Python ends
                pass
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(stop.set)

        def ready(state: TwinState) -> None:
            print(json.dumps({"control": state.url("control")}), flush=True)

        threading.Thread(target=watch, daemon=True).start()
        await serve_twin(folder, stop=stop, ready=ready, allows=allows)

    try:
        asyncio.run(serve())
    except azurite.AzuriteError as error:
        print(f"twin: {error}", file=sys.stderr)
        return 1
    return 0


def sourced(environment: dict[str, str]) -> str:
    """A file for a shell to source."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())]
    return "\n".join(lines) + "\n"
