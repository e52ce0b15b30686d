"""Delivered invoices in the table: right to the cent, however they are delivered, and once more changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from noria.costs import focus
from noria.costs.deliveries import deliveries
from noria.costs.invoices import Ingested, ingest
from noria.costs.table import CostTable, open_costs
from noria.lake import mirror
from noria.settings import Settings
from noria.workspace import Workspace
from tests.support.focus import change, charge, deliver

DAYS = [date(2026, 3, day) for day in range(1, 32)]
LATER = datetime(2026, 4, 3, tzinfo=UTC)
Costs = dict[tuple[str, str], Decimal]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def workspace(home: Path) -> Workspace:
    return Workspace.open(Settings.from_env({}, home=home))


@pytest.fixture
def root(home: Path) -> Path:
    return home / "lake" / "exports" / "costs"


def costs(workspace: Workspace) -> Costs:
    """What the table says, by day and currency."""
    rows = open_costs(workspace).read(DAYS[0], DAYS[-1] + timedelta(days=1)).to_pylist()
    return summed((row[focus.DAY], row["BillingCurrency"], row["BilledCost"]) for row in rows)


def delivered(charges: Iterable[Mapping[str, Any]]) -> Costs:
    """What the charges say."""
    keys = ("ChargePeriodStart", "BillingCurrency", "BilledCost")
    facts = ([row[key] for key in keys] for row in charges)
    return summed((str(start.date()), currency, cost) for start, currency, cost in facts)


def summed(rows: Iterable[tuple[str, str, Decimal]]) -> Costs:
    found: Costs = defaultdict(Decimal)
    for day, currency, cost in rows:
        found[day, currency] += cost
    return dict(found)


def rows_of(workspace: Workspace, *columns: str) -> list[dict[str, Any]]:
    return open_costs(workspace).read(DAYS[0], DAYS[-1] + timedelta(days=1), columns or None).to_pylist()


def many(days: Iterable[date], count: int = 7) -> list[dict[str, Any]]:
    """Charges with amounts that no double can hold; the days are mixed, as in a delivery."""
    days = list(days)
    return [
        charge(day, f"{number}.{day.day:02}0000000000000{number:03}", ("EUR", "USD")[number % 2])
        for number in range(1, count + 1)
        for day in days
    ]


# Right to the cent


def test_a_month_in_parts_and_two_currencies(workspace: Workspace, root: Path) -> None:
    charges = many(DAYS)
    deliver(root, charges, LATER, parts=3)
    done = ingest(workspace)
    assert done == Ingested(written=tuple(DAYS)) and costs(workspace) == delivered(charges)
    assert len(open_costs(workspace).history()) == 1, "one commit"
    assert ingest(workspace) == Ingested(left=tuple(DAYS))
    assert len(open_costs(workspace).history()) == 1, "and once more changes nothing"


def test_what_comes_twice_late_or_restated(workspace: Workspace, root: Path) -> None:
    """The newest of what was delivered for a day stands, in whatever order it comes."""
    old, new = many(DAYS[:3], 2), many(DAYS[1:4], 3)
    deliver(root, old, LATER)
    deliver(root, old, LATER)
    assert ingest(workspace).written == tuple(DAYS[:3])
    deliver(root, new, LATER + timedelta(hours=1))
    assert ingest(workspace).written == tuple(DAYS[1:4])
    expected = delivered(many(DAYS[:1], 2)) | delivered(new)
    assert costs(workspace) == expected
    deliver(root, many(DAYS[2:5], 5), LATER - timedelta(hours=1))
    done = ingest(workspace)
    assert done.written == (DAYS[4],) and done.left == tuple(DAYS[:4])
    assert costs(workspace) == expected | delivered(many(DAYS[4:5], 5))
    assert [change.days for change in open_costs(workspace).history()] == [
        tuple(DAYS[:3]), tuple(DAYS[1:4]), (DAYS[4],)
    ]  # fmt: skip


def test_an_older_delivery_that_is_found_together_with_a_newer_one_is_not_written(
    workspace: Workspace, root: Path
) -> None:
    deliver(root, many(DAYS[:2], 1), LATER)
    deliver(root, many(DAYS[:2], 2), LATER + timedelta(seconds=1))
    ingest(workspace)
    assert costs(workspace) == delivered(many(DAYS[:2], 2))
    assert len(open_costs(workspace).history()) == 1


def test_a_day_without_charges_is_written_and_one_that_is_missing_is_told(workspace: Workspace, root: Path) -> None:
    deliver(root, many([DAYS[0], DAYS[2]]), LATER, (DAYS[0], DAYS[2]))
    deliver(root, [], LATER, (DAYS[4], DAYS[4]))
    done = ingest(workspace)
    assert done.written == (*DAYS[:3], DAYS[4]) and done.empty == (DAYS[1], DAYS[4])
    assert done.missing == (DAYS[3],)
    assert costs(workspace) == delivered(many([DAYS[0], DAYS[2]]))
    assert open_costs(workspace).submitted(DAYS).keys() == {*DAYS[:3], DAYS[4]}
    assert ingest(workspace).written == ()


def test_days_that_have_not_settled_wait_for_a_later_delivery(workspace: Workspace, root: Path) -> None:
    """A delivery of the month to date names the whole month."""
    deliver(root, many(DAYS[:3]), datetime(2026, 3, 4, 4, tzinfo=UTC), (DAYS[0], DAYS[-1]))
    assert ingest(workspace).written == tuple(DAYS[:2])
    assert costs(workspace) == delivered(many(DAYS[:2]))


def test_charges_of_other_days_refunds_and_purchases(workspace: Workspace, root: Path) -> None:
    """A month to date holds corrections of the month before: booked on its first day, and again in each delivery."""
    charges = [
        *many(DAYS[:3], 2),
        charge(date(2026, 2, 27), "-5.125", ChargeCategory="Usage", ChargeClass="Correction"),
        charge(DAYS[1], "-0.1", ChargeCategory="Credit"),
        charge(DAYS[2], "1234.5", ChargeCategory="Purchase", ChargeFrequency="One-Time"),
    ]
    expected = delivered(charges)
    expected[str(DAYS[0]), "EUR"] += expected.pop(("2026-02-27", "EUR"))
    for hours in (0, 1):
        deliver(root, charges, LATER + timedelta(hours=hours), (DAYS[0], DAYS[2]))
        done = ingest(workspace)
        assert (done.written, done.refused, costs(workspace)) == (tuple(DAYS[:3]), (), expected)
        (said,) = done.notes
        assert said.endswith(
            "of other days than 2026-03-01 to 2026-03-03, booked on the nearest of these: 1 of 2026-02-27"
        )
    (correction,) = (row for row in rows_of(workspace) if row["ChargeClass"])
    assert correction["ChargePeriodStart"] == datetime(2026, 2, 27, tzinfo=UTC)


def test_a_young_day_without_charges_keeps_its_estimate_until_charges_cannot_be_late(
    workspace: Workspace, root: Path
) -> None:
    table = open_costs(workspace)
    for day, cost in zip(DAYS[:3], ("0.07", "0.07", "0"), strict=True):
        estimate(table, day, cost, LATER)
    charges = many(DAYS[:1], 1)
    for hour, kept in ((5, True), (5, True), (6, False)):
        deliver(root, charges, datetime(2026, 3, hour, 4, tzinfo=UTC), (DAYS[0], DAYS[2]))
        done = ingest(workspace)
        stands = {str(DAYS[1]): Decimal("0.07")} if kept else {}
        assert {day: cost for (day, _), cost in costs(workspace).items() if day != str(DAYS[0])} == stands
        assert done.kept == ((DAYS[1],) if kept else ())
        assert (f"no charges yet, so the estimates stand: {DAYS[1]}" in done.notes) == kept
    assert done.empty == (DAYS[1], DAYS[2]) and "nothing was charged: 2026-03-02, 2026-03-03" in done.notes
    assert ingest(workspace).written == ()


# Parts and manifests


def test_what_is_not_there_whole_waits(workspace: Workspace, root: Path) -> None:
    charges = many(DAYS[:2])
    manifest = deliver(root, charges, LATER, parts=2)
    part = next(manifest.parent.glob("part_1*"))
    whole, told = part.read_bytes(), manifest.read_bytes()
    part.unlink()
    (waiting,) = ingest(workspace).waiting
    assert waiting.endswith(f"{part.name} is not there")
    part.write_bytes(whole[:-100])
    (waiting,) = ingest(workspace).waiting
    assert f"{len(whole) - 100} bytes of {len(whole)}" in waiting
    assert deliveries(workspace.lake) == [] and costs(workspace) == {}
    manifest.unlink()
    part.write_bytes(whole)
    assert ingest(workspace) == Ingested()
    manifest.write_bytes(told)
    assert ingest(workspace).written == tuple(DAYS[:2]) and costs(workspace) == delivered(charges)


LIES = {
    "another number of rows": ({"blobs__0__dataRowCount": 9, "dataRowCount": 9}, "has 14 rows; expected 9, as"),
    "rows that do not add up": ({"dataRowCount": 9}, "dataRowCount 9; expected 14"),
    "parts that it does not name": ({"blobCount": 2}, "blobCount 2; expected 1"),
    "no days": ({"runInfo__endDate": "2026-02-01"}, "endDate before startDate"),
    "another dataset": ({"exportConfig__type": "ActualCost"}, "an export of ActualCost; expected FocusCost"),
    "other files": ({"deliveryConfig__fileFormat": "Csv"}, "files in Csv; expected Parquet"),
    "no time": ({"runInfo__submittedTime": "yesterday"}, "runInfo.submittedTime"),
    "nothing of use": ({"runInfo": None}, "runInfo"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_manifest_that_lies_is_told_and_in_nobodys_way(lie: str, workspace: Workspace, root: Path) -> None:
    keys, expected = LIES[lie]
    deliver(root, many(DAYS[:2], 1), LATER - timedelta(days=1))
    change(deliver(root, many(DAYS[:2]), LATER), **keys)
    done = ingest(workspace)
    assert len(done.refused) == 1 and expected in done.refused[0], done.refused
    assert done.written == tuple(DAYS[:2]) and costs(workspace) == delivered(many(DAYS[:2], 1))


def test_a_manifest_that_is_no_json(workspace: Workspace, root: Path) -> None:
    deliver(root, many(DAYS[:1]), LATER).write_text("{")
    (problem,) = ingest(workspace).refused
    assert "manifest.json: the whole: " in problem


def test_a_part_that_is_named_twice_is_not_counted_twice(workspace: Workspace, root: Path) -> None:
    manifest = deliver(root, many(DAYS[:1]), LATER)
    change(manifest, blobs=json.loads(manifest.read_text())["blobs"] * 2, blobCount=2, dataRowCount=14)
    (problem,) = ingest(workspace).refused
    assert "part_0_0001.snappy.parquet is named twice; expected each part once" in problem
    assert costs(workspace) == {}


def test_a_part_that_is_no_parquet_file(workspace: Workspace, root: Path) -> None:
    manifest = deliver(root, many(DAYS[:1]), LATER)
    part = next(manifest.parent.glob("part_0*"))
    part.write_bytes(b"x" * part.stat().st_size)
    (problem,) = ingest(workspace).refused
    assert part.name in problem and "no Parquet file" in problem


def test_names_of_parts_lead_nowhere_else(workspace: Workspace, root: Path) -> None:
    manifest = deliver(root, many(DAYS[:1]), LATER)
    change(manifest, blobs__0__blobName=f"../../../../../other/{next(manifest.parent.glob('part*')).name}")
    assert ingest(workspace).written == (DAYS[0],)


def test_exports_of_two_scopes_are_told(workspace: Workspace, root: Path) -> None:
    """Each would hide the other's charges. One that took the other's place is none of that."""
    for number, hours in enumerate((0, 100, 101)):
        manifest = deliver(root, many(DAYS[number : number + 1], 1), LATER + timedelta(hours=hours))
        scope = f"/subscriptions/{number}/providers/Microsoft.CostManagement/exports/noria-costs"
        change(manifest, exportConfig__resourceId=scope)
    (problem,) = ingest(workspace).refused
    assert "exports of 2 scopes" in problem and problem.endswith("days: /subscriptions/1, /subscriptions/2")


# What a night costs


def test_nights_ask_only_for_manifests_once_all_is_in(
    workspace: Workspace, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        deliver(root, many(DAYS[:2], 1), LATER + timedelta(days=number))
    ingest(workspace)
    fetched: list[str] = []
    monkeypatch.setattr(workspace.lake, "local", fetched.append)
    assert ingest(workspace).left == tuple(DAYS[:2]) and fetched == []


# Killed


KILLED = """
import os, shutil, signal, sys
from pathlib import Path

import deltalake, pyarrow.compute, pyarrow.parquet
from noria.costs.invoices import ingest
from noria.lake.disk import DiskLake
from noria.settings import Settings
from noria.workspace import Workspace

home, begun = Path(sys.argv[1]), 0
while True:
    copy = home.with_name(f"killed{begun}")
    shutil.copytree(home, copy)
    child = os.fork()
    if not child:
        count = iter(range(10**9))
        def killing(real):
            def operation(*arguments):
                if next(count) == begun:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments)
            return operation
        for method in ("read", "create", "replace", "put", "local", "sizes"):
            setattr(DiskLake, method, killing(getattr(DiskLake, method)))
        ingest(Workspace.open(Settings.from_env({}, home=copy)))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if not status:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    begun += 1
"""


def test_killed_at_any_step_every_day_is_old_or_new(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next time completes it. The days hold estimates and an older invoice, and a checkpoint is due."""
    monkeypatch.setattr(mirror, "COMMITS_PER_CHECKPOINT", 4)
    base = home / "base"
    before = Workspace.open(Settings.from_env({}, home=base))
    place = base / "lake" / "exports" / "costs"
    deliver(place, many(DAYS[:2], 1), LATER)
    ingest(before)
    estimate(open_costs(before), DAYS[2], "0.07", LATER)
    old = costs(before)
    deliver(place, many(DAYS[:3], 3), LATER + timedelta(days=1), parts=2)
    subprocess.run([sys.executable, "-c", KILLED, str(base)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    new = delivered(many(DAYS[:3], 3))
    found = []
    for number in range(len(list(home.glob("killed*")))):
        killed = Workspace.open(Settings.from_env({}, home=home / f"killed{number}"))
        found.append(costs(killed))
        ingest(killed)
        assert costs(killed) == new, f"the retry after step {number}"
        shutil.rmtree(home / f"killed{number}")
    steps = ["new" if each == new else "old" if each == old else "mixed" for each in found]
    assert "mixed" not in steps and steps == sorted(steps, reverse=True)
    assert steps.count("old") > 10 and steps.count("new") >= 3, "before the commit, and around the checkpoint after it"


def estimate(table: CostTable, day: date, cost: str, at: datetime) -> None:
    row = {focus.DAY: str(day), focus.ORIGIN: "metering", "BilledCost": Decimal(cost), "BillingCurrency": "EUR"}
    rows = pa.RecordBatch.from_pylist([row], schema=focus.schema())
    table.replace_days([day], [rows], origin="metering", submitted_at=at, reason="metered")
