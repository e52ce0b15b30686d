"""Which days the invoice is still asked for, and asking for them.

A day settles for one day after its end. A day of this month is there once a delivery was submitted after that; the
daily schedule then brings the month anew each day. The last month is asked for again on each of the first five days of
a month, while its invoice is being closed, or on the first later day if nothing was asked then. Nothing waits here:
what was asked for is delivered within hours, and a later night takes it. An answer that brings nothing, a delivery that
cannot be used or that there are no data, stands for a week.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from noria.azure.cost_client import CostClient, Json, is_stale
from noria.costs.cost_management.connection import open_client
from noria.costs.cost_management.export import keep_export, moment_of
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
_ALIVE = {"queued", "inprogress"}
_AWAITED = {*_ALIVE, "completed"}
_PATIENCE = timedelta(days=1)
"""How long a run that is awaited may take until its days are asked for again."""
_PAUSE = timedelta(hours=1)
"""After a run that failed."""
_FRUITLESS = timedelta(days=7)
"""After a run that found no data, and after a delivery that cannot be used."""
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Requested:
    """What was asked for.

    Attributes:
        asked: Days that a run was begun for.
        waiting: Days that a run under way, or one whose delivery is not there yet, is to bring.
        later: Days left for the next time, since few runs may be under way at once.
        refused: Days left for a week, since their newest delivery cannot be used.
    """

    asked: tuple[date, ...] = ()
    waiting: tuple[date, ...] = ()
    later: tuple[date, ...] = ()
    refused: tuple[date, ...] = ()


def request_missing(workspace: Workspace, days: Sequence[date], unusable: Collection[str] = ()) -> Requested:
    """Keep the export in line, and run it for those of the days that are missing and settled; it waits for nothing.

    One run for a month's missing days, from the month's first day on: what else it brings is only delivered again.

    Args:
        workspace: Whose connection is used.
        days: Those that may be asked for.
        unusable: Lake paths of manifests whose deliveries were refused: they have brought nothing.

    Raises:
        NoFocusError: The account type has no FOCUS export; see `ingest_queried`.
        InputError: There is no connection azure_costs, or it is wrong.
        NoriaError: The service refused; see `noria.azure.cost_client`.
    """
    client, now = open_client(workspace), workspace.clock().astimezone(UTC)
    keep_export(client, workspace.settings.lake_url, now)
    delivered, refused = _delivered(workspace, unusable)
    missing = [day for day in settled(days, now) if delivered.get(day, _NEVER) < needed(day, now)]
    held = [day for day in missing if now - _FRUITLESS < refused.get(day, _NEVER) > delivered.get(day, _NEVER)]
    wanted = [day for day in missing if day not in held]
    if not wanted:
        return Requested(refused=tuple(held))
    runs = client.runs()
    answers = {day: {_status(run) for run in runs if _answers(run, day, now)} for day in wanted}
    waiting = [day for day in wanted if answers[day] & _AWAITED]
    due = [day for day in wanted if not answers[day]]
    free = MOST_RUNS - sum(_status(run) in _ALIVE and not _is_given_up(run, now) for run in runs)
    begun = _run(client, spans(due), free)
    asked = tuple(day for day in due if day in begun)
    later = tuple(day for day in due if day not in begun)
    return Requested(asked, tuple(waiting), later, tuple(held))


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
    """For each month its first day and the last one of these, the newest month first; a run takes a month at most.

    All deliveries of a month begin on the same day, since there the charges of days before it are booked: each replaces
    those of the one before.
    """
    return sorted({day.replace(day=1): day for day in sorted(days)}.items(), reverse=True)


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


def _delivered(workspace: Workspace, unusable: Collection[str]) -> tuple[dict[date, datetime], dict[date, datetime]]:
    """When the newest delivery that has a day was submitted: one that waits in the lake, or one that the table has.

    The second answer is the same of those that cannot be used.
    """
    found = open_costs(workspace).invoiced_days()  # not the estimates, which stand for other days
    refused: dict[date, datetime] = {}
    for delivery in deliveries(workspace.lake, ROOT):
        newest = refused if delivery.path in unusable else found
        for day in delivery.days:
            newest[day] = max(newest.get(day, _NEVER), delivery.submitted_at)
    return found, refused


def _answers(run: Json, day: date, now: datetime) -> bool:
    """Whether a run keeps a day from being asked for again: it has it, and was late enough for its last word."""
    first, last = _moment(run, "startDate").date(), _moment(run, "endDate").date()
    in_time = _moment(run, "submittedTime") >= needed(day, now)
    return first <= day <= last and in_time and not _is_given_up(run, now)


def _is_given_up(run: Json, now: datetime) -> bool:
    """Whether what a run was to bring is asked for again."""
    patience = dict.fromkeys(_AWAITED, _PATIENCE) | {"datanotavailable": _FRUITLESS}
    return now - _moment(run, "submittedTime") >= patience.get(_status(run), _PAUSE)


def _moment(run: Json, key: str) -> datetime:
    """A time of a run; long ago where it has none."""
    return moment_of(run["properties"].get(key) or _NEVER.isoformat())


def _status(run: Json) -> str:
    return str(run["properties"].get("status")).lower()
