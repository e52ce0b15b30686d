"""Delta tables over every lake back end: whole partitions replaced in one commit, whoever else writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from noria.errors import BusyError, StorageError
from noria.lake import Lake, delta, mirror, open_lake
from tests.contract.test_lake import Place

pytestmark = pytest.mark.slow
SCHEMA = pa.schema(
    [("cost", pa.decimal128(38, 18)), ("name", pa.string()), ("day", pa.string()), ("from", pa.string())]
)
LAYOUT = delta.Layout(SCHEMA, ("day", "from"), {"delta.enableExpiredLogCleanup": "false"})
Rows = Iterable[tuple[str, str, str]]


@pytest.fixture
def on_disk(tmp_path: Path) -> Lake:
    return open_lake(str(tmp_path / "lake"))


def put(
    lake: Lake,
    version: int,
    rows: Rows,
    days: Collection[str] = (),
    *,
    layout: delta.Layout = LAYOUT,
    more: Mapping[str, Any] | None = None,
) -> list[str]:
    """Replace days by rows of (day, from, name), if `version` is newer than what stands for them."""
    given = [{"day": day, "from": origin, "name": name, **(more or {})} for day, origin, name in rows]
    wanted = [*days, *(row["day"] for row in given)]

    def choose(stands: delta.Transactions) -> dict[str, tuple[str, int]]:
        return {day: (f"t/{day}", version) for day in wanted if stands.get(f"t/{day}", -1) < version}

    batches = [pa.RecordBatch.from_pylist(given, schema=layout.schema)]
    return delta.replace(lake, "t", layout, batches, choose=choose, notes=lambda days: {"days": sorted(days)})


def names(lake: Lake, *where: tuple[str, str, str]) -> list[str]:
    with delta.scan(lake, "t", where) as rows:
        return [] if rows is None else sorted(rows.to_table(columns=["name"])["name"].to_pylist())


def test_whole_partitions_are_replaced_and_no_other_is_fetched(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, transactions and notes are kept, over a checkpoint too."""
    monkeypatch.setattr(mirror, "COMMITS_PER_CHECKPOINT", 3)
    assert names(lake) == [] and delta.schema(lake, "t") is None and delta.transactions(lake, "t") == {}
    assert put(lake, 1, [("1", "m", "a"), ("2", "m", "b"), ("2", "m", "c")]) == ["1", "2"]
    assert put(lake, 2, [("2", "i", "d")], ["3"]) == ["3", "2"]
    fetched: list[str] = []
    for method in ("read", "local"):
        real = getattr(lake, method)
        monkeypatch.setattr(lake, method, lambda path, real=real: (fetched.append(path), real(path))[1])
    assert put(lake, 3, [("3", "i", "e")]) == ["3"]
    assert not [path for path in fetched if "_delta_log" not in path]
    assert names(lake) == ["a", "d", "e"]
    assert names(lake, ("day", ">=", "2")) == ["d", "e"]
    assert names(lake, ("day", ">=", "2"), ("day", "<", "3")) == ["d"]
    assert len([path for path in fetched if "_delta_log" not in path]) == 3 + 2 + 1
    assert delta.transactions(lake, "t") == {"t/1": 1, "t/2": 2, "t/3": 3}
    assert put(lake, 2, [("3", "i", "old")], ["2"]) == [] and names(lake) == ["a", "d", "e"]
    told = [(commit.version, commit.facts.get("days")) for commit in delta.history(lake, "t")]
    assert told == [(0, None), (1, ["1", "2"]), (2, ["2", "3"]), (3, ["3"])]
    assert any("checkpoint" in path for path in lake.list("t")), "or nothing was shown about it"


def interrupt(lake: Lake, patch: pytest.MonkeyPatch, then: Callable[[], object], times: int = 1) -> None:
    """Do something right before each of the next commits."""
    real, left = lake.create, [None] * times

    def create(path: str, data: bytes) -> bool:
        if "_delta_log" in path and left:
            left.pop()
            then()
        return real(path, data)

    patch.setattr(lake, "create", create)


def test_whoever_is_quicker_is_followed(lake: Lake, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer commits between our data files and our commit: something newer for one day, and another day."""
    rival = open_lake(place.url, place.connection)
    put(lake, 1, [("1", "m", "a"), ("2", "m", "b")])
    interrupt(lake, monkeypatch, lambda: put(rival, 9, [("1", "i", "theirs"), ("3", "i", "theirs too")]))
    assert put(lake, 5, [("1", "i", "ours"), ("2", "i", "ours too")]) == ["2"]
    assert names(lake) == ["ours too", "theirs", "theirs too"]
    files = [path for path in lake.list("t") if path.startswith("t/day=")]
    assert len(files) == 2 + 2 + 1, "the file that no commit took is gone"


# What does not depend on where the bytes are


def test_two_begin_the_table_at_once(on_disk: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    rival = open_lake(on_disk.root)
    interrupt(on_disk, monkeypatch, lambda: put(rival, 1, [("1", "m", "theirs")]))
    assert put(on_disk, 1, [("2", "m", "ours")]) == ["2"]
    assert names(on_disk) == ["ours", "theirs"]


def test_writers_that_are_always_quicker(on_disk: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    put(on_disk, 1, [("1", "m", "a")])
    rival, numbers = open_lake(on_disk.root), iter(range(99))
    monkeypatch.setattr(mirror.time, "sleep", lambda _: None)
    interrupt(on_disk, monkeypatch, lambda: put(rival, next(numbers), [("r", "m", "r")]), times=99)
    with pytest.raises(BusyError, match="quicker 12 times"):
        put(on_disk, 2, [("1", "m", "b")])
    assert names(on_disk, ("day", "=", "1")) == ["a"]


def test_all_days_in_any_order_and_more_than_memory_holds(
    on_disk: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is written in between; text may be dictionary-encoded, with another dictionary in each batch."""
    monkeypatch.setattr("noria.lake.partitions._BUFFERED_BYTES", 200)
    text = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([field.with_type(text) if field.type == pa.string() else field for field in SCHEMA])
    rows = [{"cost": n, "name": f"n{n}", "day": str(n * 7 % 5), "from": "im"[n % 2]} for n in range(200)]
    batches = [pa.RecordBatch.from_pylist(rows[i : i + 9], schema=schema) for i in range(0, 200, 9)]
    done = delta.replace(
        on_disk,
        "t",
        LAYOUT,
        iter(batches),
        choose=lambda _: {d: (d, 1) for d in "0124"},
        notes=lambda _: {},
        tmp=tmp_path,
    )
    assert sorted(done) == list("0124")
    with delta.scan(on_disk, "t", []) as found:
        assert found is not None
        table = found.to_table()
    kept = sorted(table.to_pylist(), key=lambda row: row["cost"])
    assert table.schema.equals(SCHEMA) and kept == [row for row in rows if row["day"] != "3"]
    assert len(list(Path(on_disk.root).rglob("*.parquet"))) == 8, "one file for each partition"


def test_a_partition_holds_no_text_of_others(on_disk: Lake) -> None:
    text = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([field.with_type(text) if field.type == pa.string() else field for field in SCHEMA])
    rows = [{"name": f"name {n}", "day": "2" if n == 70 else "1", "from": "m"} for n in range(2_000)]
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    days = {"1": ("1", 1), "2": ("2", 1)}
    delta.replace(on_disk, "t", LAYOUT, [batch], choose=lambda _: days, notes=lambda _: {})
    large, small = (next(Path(on_disk.root, "t").glob(f"day={day}/*/*.parquet")).read_bytes() for day in "12")
    assert b"name 70" in small and b"name 71" not in small and len(small) < len(large) / 5
    assert names(on_disk, ("day", "=", "2")) == ["name 70"]


def test_columns_that_come_later_and_such_as_change_their_type(on_disk: Lake) -> None:
    wider = delta.Layout(pa.schema([*SCHEMA, ("more", pa.string())]), LAYOUT.partition_by, {})
    put(on_disk, 1, [("1", "m", "a")])
    put(on_disk, 1, [("2", "m", "b")], layout=wider, more={"more": "x"})
    put(on_disk, 1, [("3", "m", "c")])
    with delta.scan(on_disk, "t", []) as found:
        assert found is not None
        rows = found.to_table(columns=["name", "more"]).to_pylist()
    assert {row["name"]: row["more"] for row in rows} == {"a": None, "b": "x", "c": None}
    other = delta.Layout(pa.schema([*SCHEMA, ("more", pa.int64())]), LAYOUT.partition_by, {})
    with pytest.raises(StorageError, match="its column more is string, not int64"):
        put(on_disk, 1, [("4", "m", "d")], layout=other, more={"more": 1})
    assert names(on_disk) == ["a", "b", "c"]


def test_a_lost_file_is_named_and_in_the_way_of_reading_only(on_disk: Lake) -> None:
    put(on_disk, 1, [("1", "m", "a"), ("2", "m", "b")])
    next(Path(on_disk.root, "t").glob("day=1/*/*.parquet")).unlink()
    with pytest.raises(StorageError, match="has lost its file day=1/from=m/"):
        names(on_disk)
    assert names(on_disk, ("day", "=", "2")) == ["b"]
    put(on_disk, 2, [("1", "m", "again")])
    assert names(on_disk) == ["again", "b"]


def test_a_garbled_commit_is_told(on_disk: Lake) -> None:
    put(on_disk, 1, [("1", "m", "a")])
    on_disk.replace(f"t/_delta_log/{1:020}.json", b'{"txn"')
    for ask in (delta.transactions, delta.schema, lambda lake, path: list(delta.history(lake, path))):
        with pytest.raises(StorageError, match="cannot be used"):
            ask(on_disk, "t")
