"""Child processes of the twin, and the warden that ends them should the twin die without doing so."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from noria.launcher.processes import end_trees, identify

GRACE_SECONDS = 5.0


class Children:
    """Processes that end with this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._warden: subprocess.Popen[str] | None = None
        self._started: list[psutil.Process] = []

    def spawn(self, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        """As subprocess.Popen; the warden knows the child before this returns."""
        with self._lock:
            warden = self._warden or self._start_warden()
            assert warden.stdin is not None
            child = subprocess.Popen([str(part) for part in command], **options)
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(child.pid)
                warden.stdin.write(json.dumps(identify(process)) + "\n")
                warden.stdin.flush()
                self._started = [*(p for p in self._started if p.is_running()), process]
        return child

    def end(self) -> None:
        """End all of them with their descendants."""
        with self._lock:
            end_trees((p for p in self._started if p.is_running()), GRACE_SECONDS)
            self._started = []
            if self._warden is not None:
                assert self._warden.stdin is not None
                self._warden.stdin.close()
                self._warden.wait()
                self._warden = None

    def _start_warden(self) -> subprocess.Popen[str]:
        self._warden = subprocess.Popen(
            [sys.executable, "-m", "noria.launcher.warden"], stdin=subprocess.PIPE, start_new_session=True, text=True
        )
        return self._warden


CHILDREN = Children()
"""Those of this process."""
