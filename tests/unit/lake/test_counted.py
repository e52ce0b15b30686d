from pathlib import Path

import pytest

from noria.lake import open_lake
from noria.lake.counted import CountedLake


@pytest.fixture
def lake(tmp_path: Path) -> CountedLake:
    return CountedLake(open_lake(str(tmp_path / "lake")))


def counts(lake: CountedLake) -> tuple[int, int, int]:
    return lake.requests, lake.write_requests, lake.stored_bytes


def test_reads_and_writes_are_counted_apart(lake: CountedLake) -> None:
    lake.create("a", b"123")
    lake.create("a", b"123")  # asked and refused: nothing more is stored
    lake.replace("b", b"12")
    assert counts(lake) == (3, 3, 5)
    lake.read("a")
    lake.exists("a")
    list(lake.list(""))
    with lake.local("b"):
        pass
    lake.remove("b")  # free
    assert counts(lake) == (7, 3, 5)


def test_a_large_file_is_billed_by_its_size(lake: CountedLake, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(bytes(9 * 2**20))
    lake.put(file, "x")
    assert counts(lake) == (3, 3, 9 * 2**20)
    with lake.local("x"):
        assert counts(lake) == (6, 3, 9 * 2**20)
