"""Which days are asked for, and when; the service itself is tried on the twin."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from noria.costs.cost_management import Requested, request_missing
from noria.costs.cost_management.missing import needed, settled, spans
from noria.settings import Settings
from noria.workspace import Workspace


def at(month: int, day: int, hour: int = 3) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "since"),
    [
        (at(10, 22), at(10, 22, 0)),  # a day after its end
        (at(10, 31), at(10, 22, 0)),
        (at(11, 1), at(11, 1, 0)),  # then anew each day while the month is closed
        (at(11, 4), at(11, 4, 0)),
        (at(11, 5), at(11, 5, 0)),
        (at(11, 6), at(11, 5, 0)),  # and once more, if nobody asked on the fifth
        (at(12, 31), at(11, 5, 0)),
    ],
)
def test_since_when_a_delivery_has_the_last_word(now: datetime, since: datetime) -> None:
    assert needed(date(2026, 10, 20), now) == since


def test_the_last_day_of_a_month_settles_in_the_next() -> None:
    last = date(2026, 10, 31)
    assert settled([last], at(11, 1)) == [] and settled([last], at(11, 2)) == [last]
    assert needed(last, at(11, 2)) == at(11, 2, 0)
    assert settled([date(2026, 1, 2), date(2026, 1, 1), date(2026, 1, 1)], at(2, 1)) == [
        date(2026, 1, 1),
        date(2026, 1, 2),
    ]


def test_a_run_takes_a_month_at_most_and_the_newest_month_comes_first() -> None:
    """Each begins with its month, so that a charge of a day before, which is booked there, counts once."""
    days = [date(2026, 10, 30) + timedelta(days=number) for number in (0, 1, 2, 5, 40)]
    assert spans(days) == [
        (date(2026, 12, 1), date(2026, 12, 9)),
        (date(2026, 11, 1), date(2026, 11, 4)),
        (date(2026, 10, 1), date(2026, 10, 31)),
    ]
    assert spans([]) == []


@pytest.mark.parametrize(
    ("status", "waited", "asked_after"),
    [
        ("Queued", True, timedelta(days=1)),
        ("InProgress", True, timedelta(days=1)),
        ("Completed", True, timedelta(days=1)),  # what it brings is not there yet
        ("Failed", False, timedelta(hours=1)),
        ("Timeout", False, timedelta(hours=1)),
        ("DataNotAvailable", False, timedelta(days=7)),  # an answer, though charges may come late
    ],
)
def test_a_night_waits_for_runs_that_may_bring_something_alone(
    status: str, waited: bool, asked_after: timedelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, began = date(2026, 9, 20), at(11, 12)
    times = {"startDate": "2026-09-01T00:00:00Z", "endDate": "2026-09-30T00:00:00", "submittedTime": began.isoformat()}
    runs = [{"properties": {**times, "status": status}}]
    client = SimpleNamespace(export_name="x", runs=lambda: runs, run_export=lambda *_: None)
    monkeypatch.setattr("noria.costs.cost_management.missing.open_client", lambda _: client)
    monkeypatch.setattr("noria.costs.cost_management.missing.keep_export", lambda *_: False)
    workspace = Workspace.open(Settings.from_env({}, home=tmp_path))

    def look(after: timedelta) -> Requested:
        return request_missing(dataclasses.replace(workspace, clock=lambda: began + after), [day])

    moment = timedelta(seconds=1)
    for after in (moment, asked_after - moment):
        assert look(after) == Requested(waiting=(day,) if waited else ())
    assert day in look(asked_after).asked
