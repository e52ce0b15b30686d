"""Bring a former champion back."""

from __future__ import annotations

from noria.records import Rollback
from noria.workspace import Workspace


def rollback(
    name: str, workspace: Workspace, *, to: str | None = None, by: str, reason: str, key: str | None = None
) -> Rollback:
    """Make a version that was in production the champion again, if it still loads and scores today.

    Args:
        name: Name of the pipeline.
        workspace: The world.
        to: The version; default: the champion before this one.
        by: Who asks for it.
        reason: Why.
        key: Names this rollback, so that a retry of a killed one completes it instead of going one further back; a
            retry gives the same key (letters, digits, `_.+-`). Its record is `rollbacks/<pipeline>/<key>.json`.

    Raises:
        InputError: No reason, nobody is named, no such version, one that never was the champion or is it now, or one
            that does not load and score the newest snapshot's holdout.
        BusyError: A promotion of this pipeline does not end.
    """
    raise NotImplementedError


def rollback_path(name: str, key: str) -> str:
    """Lake path of a rollback's record."""
    return f"rollbacks/{name}/{key}.json"
