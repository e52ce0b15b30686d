"""Which deliveries there are; what becomes of them, and of manifests that lie, is shown in `test_invoices`."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from noria.costs.deliveries import ROOT, deliveries, look
from noria.lake.disk import DiskLake
from tests.support.focus import change, charge, deliver

DAY, LATER = date(2026, 3, 1), datetime(2026, 4, 3, tzinfo=UTC)


def test_manifests_of_earlier_nights_are_not_read_again_unless_they_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, root = DiskLake(tmp_path), tmp_path / ROOT
    manifests = [deliver(root, [charge(DAY)], LATER + timedelta(days=number)) for number in range(3)]
    read, asked = lake.read, set[str]()

    def noting(path: str) -> bytes:
        asked.add(path)
        return read(path)

    first = look(lake, ROOT, keep=True).whole
    monkeypatch.setattr(lake, "read", noting)
    assert deliveries(lake) == look(lake, ROOT, keep=True).whole == first
    assert asked == {f"{ROOT}/manifests.json"}
    shutil.rmtree(manifests[0].parent)
    change(manifests[1], runInfo__endDate="2026-03-02", more="bytes")
    new = deliver(root, [charge(DAY)], LATER + timedelta(days=4))
    found = look(lake, ROOT, keep=True).whole
    assert asked - {f"{ROOT}/manifests.json"} == {path.relative_to(tmp_path).as_posix() for path in (manifests[1], new)}
    assert [delivery.last.day for delivery in found] == [1, 1, 2]
    (root / "manifests.json").write_text("[")
    assert deliveries(lake) == found, "what is kept of them is a copy"


def test_a_manifest_that_the_next_run_writes_over_is_read_each_time(tmp_path: Path) -> None:
    """It may have as many bytes as before."""
    lake = DiskLake(tmp_path)
    manifest = deliver(tmp_path / ROOT, [charge(DAY)], LATER)
    for submitted in ("2026-04-03T00:00:00", "2026-04-04T00:00:00"):
        change(
            manifest, runInfo__submittedTime=submitted, deliveryConfig__dataOverwriteBehavior="OverwritePreviousReport"
        )
        (found,) = look(lake, ROOT, keep=True).whole
        assert found.submitted_at == datetime.fromisoformat(f"{submitted}Z")
