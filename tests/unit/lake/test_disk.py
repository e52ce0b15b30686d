"""The lake on a disk that is full, read-only, another file system, or was left by a killed process."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from noria.errors import StorageError
from noria.lake.disk import DiskLake
from tests.support.mounts import tmpfs


def test_a_full_disk_is_named_and_nothing_half_written_stays(tmp_path: Path) -> None:
    file = tmp_path / "big.bin"
    file.write_bytes(bytes(3 << 20))
    with tmpfs(tmp_path / "lake", "size=2m") as root:
        lake = DiskLake(root)
        lake.create("raw/known.json", b"{}")
        with pytest.raises(StorageError, match=rf"cannot write {root}/raw/data\.csv: No space left on device\. Free"):
            lake.put(file, "raw/data.csv")
        with pytest.raises(StorageError, match="No space left"):
            lake.create("raw/manifest.json", bytes(3 << 20))
        with pytest.raises(StorageError, match="No space left"):
            lake.replace("raw/known.json", bytes(3 << 20))
        assert list(lake.list("")) == ["raw/known.json"]
        assert lake.read("raw/known.json") == b"{}"
        assert not list((root / ".tmp").iterdir())


def test_a_disk_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "lake", "ro") as root, pytest.raises(StorageError, match=r"Read-only.*permissions"):
        DiskLake(root).create("x.json", b"{}")


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root, who may write everywhere."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with nobody(), pytest.raises(StorageError, match=r"cannot write .*: Permission denied.*mend the permissions"):
        DiskLake(tmp_path / "lake").create("x.json", b"{}")
    tmp_path.chmod(0o700)


def test_put_from_the_same_disk_copies_nothing(tmp_path: Path) -> None:
    file = tmp_path / "x.bin"
    file.write_bytes(b"x")
    DiskLake(tmp_path / "lake").put(file, "a/x.bin")
    assert (tmp_path / "lake" / "a" / "x.bin").samefile(file)


def test_put_from_another_disk_copies(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "other", "size=1m") as other:
        (other / "x.bin").write_bytes(b"x" * 1000)
        DiskLake(tmp_path / "lake").put(other / "x.bin", "a/x.bin")
    assert (tmp_path / "lake" / "a" / "x.bin").read_bytes() == b"x" * 1000


def test_what_a_killed_process_left_is_swept_when_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staging = tmp_path / ".tmp"
    staging.mkdir()
    (staging / "left").write_bytes(b"half a file")
    DiskLake(tmp_path).create("x.json", b"{}")
    assert [f.name for f in staging.iterdir()] == ["left"]
    later = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: later)
    DiskLake(tmp_path).create("y.json", b"{}")
    assert not list(staging.iterdir())
    assert list(DiskLake(tmp_path).list("")) == ["x.json", "y.json"]
