"""Raw and typed layers: data first, manifest last, the first one counts."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from noria.lake import SnapshotStore, open_lake
from noria.records import RawFile, Snapshot

RAW = RawFile(source="file:///x", etag='"1"', sha256="ab" * 32, bytes=3, fetched_at=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(open_lake(str(tmp_path / "lake")), "pupils", "fingerprint")


def snapshot(store: SnapshotStore, rows: int) -> Snapshot:
    return Snapshot(
        **dict(RAW),
        snapshot_id=store.snapshot_id(RAW.sha256),
        pipeline="pupils",
        rows=rows,
        table_schema={"a": "integer"},
        raw=store.raw_path(RAW.sha256),
        table=f"{store.folder(RAW.sha256)}/table.parquet",
    )


def file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file"
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    return path


def test_identity_hangs_on_the_bytes_and_on_how_they_are_typed(store: SnapshotStore, tmp_path: Path) -> None:
    other = SnapshotStore(open_lake(str(tmp_path)), "pupils", "other")
    ids = {store.snapshot_id("a"), store.snapshot_id("b"), other.snapshot_id("a")}
    assert len(ids) == 3
    assert store.snapshot_id("a") in ids


def test_data_without_manifest_does_not_exist_and_is_completed_by_a_retry(store: SnapshotStore, tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path / "lake"))
    lake.put(file(tmp_path, b"torn"), store.raw_path(RAW.sha256))
    lake.put(file(tmp_path, b"torn"), f"{store.folder(RAW.sha256)}/table.parquet")
    assert store.find(RAW.sha256) is None
    store.keep_raw(RAW, file(tmp_path, b"raw"))
    store.keep_typed(snapshot(store, 1), file(tmp_path, b"parquet"), None)
    with store.raw(RAW.sha256) as local:
        assert local.read_bytes() == b"raw"
    assert lake.read(f"{store.folder(RAW.sha256)}/table.parquet") == b"parquet"
    assert store.find(RAW.sha256) == snapshot(store, 1)


def test_the_first_snapshot_counts(store: SnapshotStore, tmp_path: Path) -> None:
    first, second = snapshot(store, 1), snapshot(store, 2)
    assert store.keep_typed(first, file(tmp_path, b"1"), None) == first
    assert store.keep_typed(second, file(tmp_path, b"1"), None) == first


def test_data_that_were_lost_are_stored_again(store: SnapshotStore, tmp_path: Path) -> None:
    lake, whole = open_lake(str(tmp_path / "lake")), snapshot(store, 1)
    for _ in range(2):
        store.keep_raw(RAW, file(tmp_path, b"raw"))
        assert store.keep_typed(whole, file(tmp_path, b"parquet"), None) == store.find(RAW.sha256) == whole
        lake.remove(whole.table)
        lake.remove(whole.raw)
        assert store.find(RAW.sha256) is None
        assert store.last_delivery(RAW.source) is None


def test_what_a_source_delivered_counts_only_while_its_bytes_are_here(store: SnapshotStore, tmp_path: Path) -> None:
    store.remember(RAW)
    assert store.last_delivery(RAW.source) is None
    store.keep_raw(RAW, file(tmp_path, b"raw"))
    assert store.last_delivery(RAW.source) == RAW
    assert store.last_delivery("file:///other") is None
