"""Process trees: naming them safely across restarts, and ending them without leaving one behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TypedDict

import psutil

GRACE_SECONDS = 12.0


class ProcessId(TypedDict):
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    created: float


def identify(process: psutil.Process) -> ProcessId:
    """Number and birth of a process."""
    return {"pid": process.pid, "created": process.create_time()}


def find(identity: ProcessId) -> psutil.Process | None:
    """The process, if it is still there."""
    try:
        process = psutil.Process(identity["pid"])
        same = abs(process.create_time() - identity["created"]) < 0.05
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def end_trees(roots: Iterable[psutil.Process], grace_seconds: float = GRACE_SECONDS) -> None:
    """End processes and all their descendants, whatever session or group those are in.

    The roots are asked by SIGTERM and end their children themselves; what remains after the grace is killed.
    """
    roots = list(roots)
    tree = {p.pid: p for root in roots for p in _with_descendants(root)}
    for root in roots:
        with contextlib.suppress(psutil.Error):
            root.terminate()
    _gone, alive = psutil.wait_procs(roots, timeout=grace_seconds)
    for process in alive:
        tree.update({p.pid: p for p in _with_descendants(process)})
    # Children of a component that ended well need a moment to notice that it did.
    _gone, alive = psutil.wait_procs(tree.values(), timeout=2.0)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5.0)


def _with_descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return [process]
