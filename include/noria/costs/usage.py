"""What jobs have used, as they left it in the lake: `metering/<day>/<pipeline>/<run_id>/<stage>-<started>.json`.

One file an attempt, whatever became of it, under the day (UTC) on which it ended; and once a day the size of what each
pipeline keeps in the lake, in `metering/<day>/storage.json`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

from pydantic import ValidationError

from noria.lake import Lake
from noria.records import JobUsage, Record
from noria.workspace import Workspace, to_json

log = logging.getLogger(__name__)
_READS_AT_ONCE = 16
_STORAGE = "storage.json"


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


def usage_of_run(day: date, pipeline: str, run_id: str, lake: Lake) -> Iterator[JobUsage]:
    """Every attempt of a run that ended on a day; what is unreadable is told."""
    for _path, job in _read(list(lake.list(f"{_folder(day)}/{pipeline}/{run_id}")), lake):
        yield job


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


def measure_stored(day: date, workspace: Workspace) -> None:
    """Measure what is kept in the lake, unless that was done for this day."""
    lake = workspace.lake
    if lake.exists(_storage_path(day)):
        return
    by_pipeline: Counter[str] = Counter()
    sizes = dict(lake.sizes(""))
    known = {parts[1] for path in sizes if len(parts := path.split("/")) > 2 and parts[0] == "runs"}
    for path, size in sizes.items():
        parts = path.split("/")
        by_pipeline[parts[1] if len(parts) > 2 and parts[1] in known else ""] += size
    lake.create(_storage_path(day), to_json(Stored(measured_at=workspace.clock(), bytes=dict(by_pipeline))))


def _folder(day: date) -> str:
    return f"metering/{day:%Y-%m-%d}"


def _storage_path(day: date) -> str:
    return f"{_folder(day)}/{_STORAGE}"
