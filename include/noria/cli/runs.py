"""Finding a run by its pipeline: the newest that has what is asked for."""

from __future__ import annotations

import logging

from pydantic import ValidationError

from noria.errors import InputError, StorageError
from noria.pipeline import find_pipelines, load_pipeline
from noria.records import Run
from noria.workspace import Workspace, run_path

log = logging.getLogger(__name__)


def newest(workspace: Workspace, name: str, run_id: str | None, *, waiting: bool) -> Run:
    """The run of that id, else the newest of a pipeline that has a candidate.

    Args:
        workspace: The world.
        name: Of the pipeline.
        run_id: If a certain run is meant.
        waiting: Only candidates that wait for approval.

    Raises:
        InputError: There is none.
    """
    ended = _ids_with(workspace, name, "promote" if waiting else "train")
    if run_id is not None:
        return _chosen(workspace, name, run_id, ended)
    runs = sorted(_readable(workspace, name, ended), key=lambda run: run.created_at, reverse=True)
    for run in runs:
        if not waiting or _waits(workspace, run):
            return run
    known_pipeline(workspace, name)
    if waiting:
        raise InputError(
            f"no candidate of {name!r} waits for approval",
            remedy=f"`noria promote {name}` judges the newest one, `noria history {name}` tells what became of them.",
        )
    raise InputError(f"no run of {name!r} has a candidate", remedy=f"Train one with `noria run {name}`.")


def known_pipeline(workspace: Workspace, name: str) -> None:
    """Nothing, where there is a pipeline of that name, be it only in the lake.

    Raises:
        SpecError: There is none; the message lists those there are.
    """
    folders = workspace.settings.pipelines
    if name not in find_pipelines(folders) and not any(workspace.lake.list(f"runs/{name}")):
        load_pipeline(name, folders)


def _ids_with(workspace: Workspace, name: str, stage: str) -> list[str]:
    """Ids of the runs that have a stage's record, the greatest first."""
    paths = workspace.lake.list(run_path(name, "", "").rstrip("/"))
    found = {path.split("/")[2] for path in paths if path.count("/") == 3 and path.endswith(f"/{stage}.json")}
    return sorted(found, reverse=True)


def _chosen(workspace: Workspace, name: str, run_id: str, ended: list[str]) -> Run:
    try:
        return workspace.load_run(name, run_id)
    except StorageError:
        known_pipeline(workspace, name)
        shown = ", ".join(ended[:5]) or "none has got so far"
        raise InputError(f"no run {run_id!r} of {name!r}", expected=f"a run such as {shown}") from None


def _readable(workspace: Workspace, name: str, ids: list[str]) -> list[Run]:
    runs = []
    for run_id in ids:
        try:
            runs.append(workspace.load_run(name, run_id))
        except ValidationError as error:
            log.warning("run %s cannot be read by this version: %s", run_id, error.errors()[0]["msg"])
    return runs


def _waits(workspace: Workspace, run: Run) -> bool:
    decision = workspace.decision(run)
    return decision is not None and decision.waiting
