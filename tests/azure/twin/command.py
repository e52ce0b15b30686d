"""The command line of the twin: `python -m tests.azure.twin`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from tests.azure.twin import azurite
from tests.azure.twin.children import CHILDREN
from tests.azure.twin.client import Twin
from tests.azure.twin.state import TwinState

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
USAGE = """
  python -m tests.azure.twin                  run until a signal; prints the name of a file to source
  python -m tests.azure.twin -- COMMAND ...   run COMMAND on the twin, and end with its exit code
"""


def main(arguments: list[str] | None = None) -> int:
    """Read the arguments and do as they say; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.azure.twin",
        description="Azure's services on loopback." + USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, help="its state and logs (default: twin in NORIA_HOME or ./var)")
    parser.add_argument(
        "--key-vault", action="store_true", help="Airflow's connections come from the Key Vault, not from variables"
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    wanted = parser.parse_args(arguments)
    folder = (wanted.folder or Path(os.environ.get("NORIA_HOME") or "var") / "twin").resolve()
    if problem := azurite.missing():
        print(f"twin: {problem}", file=sys.stderr)
        return 2
    if wanted.serve:
        return _serve(folder)
    command = wanted.command[1:] if wanted.command[:1] == ["--"] else wanted.command
    try:
        with Twin.start(folder) as twin:
            environment = twin.airflow_environment if wanted.key_vault else twin.environment
            return _run(command, environment, twin) if command else _stay(environment, folder)
    except RuntimeError as error:
        print(f"twin: {error}", file=sys.stderr)
        return 1


def _serve(folder: Path) -> int:
    """Be the twin: say where it is in one line of JSON, and end when standard input does."""
    from filelock import Timeout

    from tests.azure.twin.server import serve

    async def served() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, stop.set)
        threading.Thread(target=_call_at_end_of_input, args=(loop, stop), daemon=True).start()
        await serve(folder, stop=stop, ready=_tell)

    try:
        asyncio.run(served())
    except azurite.AzuriteError as error:
        print(error, file=sys.stderr)
        return 1
    except Timeout:
        print(f"another twin is running in {folder}; stop it, or use another NORIA_HOME", file=sys.stderr)
        return 1
    return 0


def _tell(state: TwinState) -> None:
    print(json.dumps({"control": state.url("control"), "token": state.control_token}), flush=True)


def _call_at_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 4096):  # not through sys.stdin: this thread would hold its lock when Python ends
        pass
    if not loop.is_closed():
        loop.call_soon_threadsafe(stop.set)


def _stay(environment: Mapping[str, str], folder: Path) -> int:
    """Wait for a signal."""
    ended = threading.Event()
    for number in SIGNALS:
        signal.signal(number, lambda _number, _frame: ended.set())
    file = folder / "environment.sh"
    file.touch(mode=0o600)
    file.write_text("".join(f"export {k}={shlex.quote(v)}\n" for k, v in sorted(environment.items())))
    print(f"The twin is up. In another shell: . {file}\nCtrl-C ends it.", flush=True)
    while not ended.wait(1):  # a wait without an end would not be woken by a signal everywhere
        pass
    file.unlink()
    return 0


def _run(command: list[str], environment: Mapping[str, str], twin: Twin) -> int:
    """Run a command on the twin; its exit code, 128 and the signal's number if it died of one."""
    try:
        child = CHILDREN.spawn(command, env={**os.environ, **environment})
    except OSError as error:
        print(f"twin: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    _pass_signals_on(child)
    try:
        code = child.wait()
    finally:
        CHILDREN.end()
    for line in twin.refused():
        print(f"twin: kept on loopback: {line}", file=sys.stderr)
    return 128 - code if code < 0 else code


def _pass_signals_on(child: subprocess.Popen[bytes]) -> None:
    """The child decides what a signal means; Ctrl-C at a terminal reaches it anyhow."""

    def forward(number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGINT or not _at_a_terminal():
            child.send_signal(number)

    for number in SIGNALS:
        signal.signal(number, forward)


def _at_a_terminal() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
