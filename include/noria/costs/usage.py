"""What jobs have used, as they left it in the lake: `metering/<day>/<pipeline>/<run_id>/<stage>-<started>.json`.

One file an attempt, whatever became of it, under the day (UTC) on which it ended; and once a day the size of what each
pipeline keeps in the lake, in `metering/<day>/storage.json`.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

from pydantic import ValidationError

from noria.lake import Lake
from noria.records import JobUsage, Record
from noria.workspace import Workspace, to_json

log = logging.getLogger(__name__)
_READS_AT_ONCE = 16
_METERING, _STORAGE = "metering", "storage.json"
_OF_PIPELINES = frozenset({"raw", "rollbacks", "runs", "typed"})
"""Folders of the lake whose folders are pipelines."""
_MOST_LISTS = 7
"""A run that began earlier is looked for in one list of all days."""


class Stored(Record):
    """What was kept in the lake at one time."""

    measured_at: datetime
    bytes: dict[str, int]
    """By pipeline; what belongs to none is under an empty name."""


def usage_path(job: JobUsage) -> str:
    """Lake path of what one attempt used."""
    day = job.finished_at.astimezone(UTC).date()
    started = job.started_at.astimezone(UTC)
    return f"{_folder(day)}/{job.pipeline}/{job.run_id}/{job.stage}-{started:%H%M%S%f}.json"


def keep_usage(job: JobUsage, lake: Lake) -> None:
    """Leave what one attempt used. That it cannot be written is told, and changes nothing else."""
    try:
        lake.create(usage_path(job), to_json(job))
    except Exception as error:
        log.warning("what %s used could not be kept: %s", job.stage, error)


def usage_of(day: date, lake: Lake) -> Iterator[tuple[str, JobUsage]]:
    """Every attempt that ended on a day, with its lake path, in the order of the paths; what is unreadable is told."""
    yield from _read([path for path in lake.list(_folder(day)) if path != _storage_path(day)], lake)


def usage_of_run(first: date, last: date, pipeline: str, run_id: str, lake: Lake) -> Iterator[JobUsage]:
    """Every attempt of a run that ended on one of these days; what is unreadable is told."""
    own = f"{pipeline}/{run_id}"
    if (last - first).days < _MOST_LISTS:
        days = (first + timedelta(days=number) for number in range((last - first).days + 1))
        paths = [path for day in days for path in lake.list(f"{_folder(day)}/{own}")]
    else:
        paths = [path for path, day in _accounts(lake) if first <= day <= last and f"/{own}/" in path]
    for _path, job in _read(paths, lake):
        yield job


def first_metered(lake: Lake, since: date) -> date | None:
    """The first day, none before `since`, on which an attempt ended, or none; by names alone."""
    return min((day for _path, day in _accounts(lake) if day >= since), default=None)


def _accounts(lake: Lake) -> Iterator[tuple[str, date]]:
    """Lake path and day of every attempt; whatever else lies there is passed over."""
    for path in lake.list(_METERING):
        match path.split("/"):
            case [_, folder, _, _, _]:
                with contextlib.suppress(ValueError):
                    yield path, date.fromisoformat(folder)


def _read(paths: Sequence[str], lake: Lake) -> Iterator[tuple[str, JobUsage]]:
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        for path, data in zip(paths, pool.map(lake.read, paths), strict=True):
            try:
                yield path, JobUsage.model_validate_json(data)
            except ValidationError as error:
                log.warning("%s is no account of a job's use: %s", lake.url(path), error.errors()[0]["msg"])


def stored(day: date, lake: Lake) -> Stored | None:
    """What was kept in the lake on a day, or none where nobody has measured it."""
    try:
        return Stored.model_validate_json(lake.read(_storage_path(day)))
    except FileNotFoundError:
        return None


def measure_stored(days: Sequence[date], workspace: Workspace) -> None:
    """Measure what is kept in the lake now, for those of these days for which nobody has yet."""
    lake = workspace.lake
    due = [day for day in days if not lake.exists(_storage_path(day))]
    if not due:
        return
    by_pipeline: Counter[str] = Counter()
    for path, size in lake.sizes(""):
        parts = path.split("/")
        by_pipeline[parts[1] if len(parts) > 2 and parts[0] in _OF_PIPELINES else ""] += size
    kept = to_json(Stored(measured_at=workspace.clock(), bytes=dict(by_pipeline)))
    for day in due:
        lake.create(_storage_path(day), kept)


def _folder(day: date) -> str:
    return f"{_METERING}/{day:%Y-%m-%d}"


def _storage_path(day: date) -> str:
    return f"{_folder(day)}/{_STORAGE}"
