"""Azurite, the storage emulator of Microsoft, as a child process in Entra mode."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from tests.azure.twin.certificate import Certificate
from tests.azure.twin.children import CHILDREN
from tests.azure.twin.state import CHECKOUT

PROGRAM = CHECKOUT / "tools" / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
START_SECONDS = 60.0
REMEDY = "Install Node.js 20 or later with npm, then run `make setup PROFILE=twin`."


class AzuriteError(Exception):
    """Azurite is not there or did not start."""


def missing() -> str | None:
    """Why Azurite cannot be started here, and what to do; none if it can."""
    if shutil.which("node") is None:
        return f"the offline twin needs Node.js for Azurite, and there is no `node` on PATH. {REMEDY}"
    if not PROGRAM.exists():
        return f"the offline twin needs Azurite, which is not installed in this checkout. {REMEDY}"
    return None


def start(folder: Path, certificate: Certificate, account: str, key: str) -> int:
    """Start it on a free port of loopback, with one account and its key (base64); the port.

    Raises:
        AzuriteError: It is not installed, or ended, or did not come up.
    """
    if problem := missing():
        raise AzuriteError(problem)
    folder.mkdir(parents=True, exist_ok=True)
    log_file = folder / "azurite.log"
    node = shutil.which("node")
    assert node is not None
    flags = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--oauth", "basic"]
    files = ["--cert", certificate.certificate, "--key", certificate.key, "--location", folder / "data"]
    with log_file.open("w") as log:
        process = CHILDREN.spawn(
            [node, PROGRAM, "--blobHost", "127.0.0.1", "--blobPort", "0", *flags, *files],
            cwd=folder,
            env={**os.environ, "AZURITE_ACCOUNTS": f"{account}:{key}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := re.search(r"successfully listens on https://[\d.]+:(\d+)", log_file.read_text(errors="replace")):
            return int(found.group(1))
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AzuriteError(f"Azurite did not start (exit code {process.poll()}): {log_file.read_text()[-2000:]}")
