"""Which days the invoice is still asked for, and asking for them.

A day settles for one day after its end. A day of this month is there once a delivery was submitted after that; the
daily schedule then brings the month anew each day. The last month is asked for again on each of the first five days of
a month, while its invoice is being closed, or on the first later day if nothing was asked then. Nothing waits here:
what was asked for is delivered within hours, and a later night takes it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from noria.azure.cost_client import CostClient, Json, is_stale
from noria.costs.cost_management.connection import open_client
from noria.costs.cost_management.export import keep_export
from noria.costs.deliveries import ROOT, SETTLING, deliveries
from noria.costs.focus import midnight
from noria.costs.table import open_costs
from noria.errors import RefusedError
from noria.workspace import Workspace

log = logging.getLogger(__name__)

CLOSING_DAY = 5
"""Of the next month: until then a month's figures are restated, as Azure closes its invoice."""
MOST_RUNS = 4
"""At once; others wait for the next night."""
_PATIENCE = timedelta(days=1)
"""How long a run may take until what it was to bring is asked for again."""
_PAUSE = timedelta(hours=1)
"""After a run that failed or had no data."""
_ALIVE = {"queued", "inprogress"}
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Requested:
    """What was asked for.

    Attributes:
        asked: Days that a run was begun for.
        waiting: Days that a run under way, or one of the last hour, is to bring.
        later: Days left for the next time, since few runs may be under way at once.
    """

    asked: tuple[date, ...] = ()
    waiting: tuple[date, ...] = ()
    later: tuple[date, ...] = ()


def request_missing(workspace: Workspace, days: Sequence[date]) -> Requested:
    """Keep the export in line, and run it for those of the days that are missing and settled; it waits for nothing.

    One run for a month's missing days, from the first to the last: what lies between is only delivered again.

    Raises:
        NoFocusError: The account type has no FOCUS export; see `ingest_queried`.
        InputError: There is no connection azure_costs, or it is wrong.
        NoriaError: The service refused; see `noria.azure.cost_client`.
    """
    client, now = open_client(workspace), workspace.clock().astimezone(UTC)
    keep_export(client, workspace.settings.lake_url, now)
    delivered = _delivered(workspace)
    missing = [day for day in settled(days, now) if delivered.get(day, _NEVER) < needed(day, now)]
    if not missing:
        return Requested()
    runs = client.runs()
    waiting = [day for day in missing if any(_brings(run, day, now) for run in runs)]
    due = [day for day in missing if day not in waiting]
    free = MOST_RUNS - sum(_status(run) in _ALIVE and not _is_given_up(run, now) for run in runs)
    asked = _run(client, spans(due), free)
    later = tuple(day for day in due if day not in asked)
    return Requested(tuple(asked), tuple(waiting), later)


def settled(days: Iterable[date], now: datetime) -> list[date]:
    """Those of the days that ended long enough ago, the oldest first."""
    return [day for day in sorted(set(days)) if _settles(day) <= now]


def needed(day: date, now: datetime) -> datetime:
    """Since when a delivery must be that has the last word on a day, as far as there is one."""
    next_month = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    if now.date() < next_month:
        return _settles(day)
    return max(_settles(day), midnight(min(now.date(), next_month.replace(day=CLOSING_DAY))))


def _settles(day: date) -> datetime:
    return midnight(day + timedelta(days=1)) + SETTLING


def spans(days: Iterable[date]) -> list[tuple[date, date]]:
    """First and last day of each month, the newest month first; a run takes a month at most."""
    months = [list(group) for _, group in itertools.groupby(sorted(days), key=lambda day: (day.year, day.month))]
    return [(month[0], month[-1]) for month in reversed(months)]


def _run(client: CostClient, wanted: Sequence[tuple[date, date]], free: int) -> list[date]:
    """Begin as many runs as may be; the days that they bring."""
    asked: list[date] = []
    for first, last in wanted[: max(free, 0)]:
        try:
            client.run_export(first, last)
        except RefusedError as error:
            if not is_stale(error):
                raise
            log.info("%s", error)  # another run is in its way
            break
        log.info("export %s runs for %s to %s", client.export_name, first, last)
        asked += [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return sorted(asked)


def _delivered(workspace: Workspace) -> dict[date, datetime]:
    """When the newest delivery that has a day was submitted: one that waits in the lake, or one that the table has."""
    found = open_costs(workspace).invoiced_days()  # not the estimates, which stand for other days
    for delivery in deliveries(workspace.lake, ROOT):
        for day in delivery.days:
            found[day] = max(found.get(day, _NEVER), delivery.submitted_at)
    return found


def _brings(run: Json, day: date, now: datetime) -> bool:
    """Whether a run is to bring a day still, and late enough for its last word."""
    first, last = _moment(run, "startDate").date(), _moment(run, "endDate").date()
    in_time = _moment(run, "submittedTime") >= needed(day, now)
    return first <= day <= last and in_time and not _is_given_up(run, now)


def _is_given_up(run: Json, now: datetime) -> bool:
    """Whether what a run was to bring is asked for again."""
    patience = _PATIENCE if _status(run) in {*_ALIVE, "completed"} else _PAUSE
    return now - _moment(run, "submittedTime") >= patience


def _moment(run: Json, key: str) -> datetime:
    """A time of a run; long ago where it has none."""
    moment = datetime.fromisoformat(run["properties"].get(key) or _NEVER.isoformat())
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _status(run: Json) -> str:
    return str(run["properties"].get("status")).lower()
