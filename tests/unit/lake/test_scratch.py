"""Temporary folders: gone at the end, or with the next run if their owner was killed."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from noria.errors import SourceError, StorageError
from noria.lake import scratch
from tests.support.mounts import tmpfs

OWNER = """
import sys, time
from pathlib import Path
from noria.lake import scratch
with scratch(Path(sys.argv[1])) as folder:
    (folder / "data.csv").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_it_is_gone_at_the_end_and_after_an_error(tmp_path: Path) -> None:
    with scratch(tmp_path / "tmp") as folder:
        (folder / "x").write_bytes(b"x")
    assert not list((tmp_path / "tmp").iterdir())
    with pytest.raises(SourceError), scratch(tmp_path / "tmp") as folder:
        raise SourceError("x")
    assert not list((tmp_path / "tmp").iterdir())


def test_only_what_dead_owners_left_is_swept(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    theirs = Path(owner.stdout.readline().strip())
    with scratch(tmp_path) as ours:
        assert (theirs / "data.csv").exists()
        assert ours != theirs
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert (theirs / "data.csv").exists()
    with scratch(tmp_path) as ours:
        assert [f for f in tmp_path.iterdir() if f.is_dir()] == [ours]


def test_a_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    with (
        tmpfs(tmp_path / "disk", "size=1m") as disk,
        pytest.raises(StorageError, match="No space left on device"),
        scratch(disk) as folder,
    ):
        (folder / "x").write_bytes(bytes(2 << 20))


def test_many_at_once_keep_their_folders_apart(tmp_path: Path) -> None:
    """Also while one has made the file of its lock and has not taken it yet."""

    def use(number: int) -> bool:
        with scratch(tmp_path) as folder:
            (folder / "file").write_text(str(number))
            return (folder / "file").read_text() == str(number)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(300)))
    assert list(tmp_path.iterdir()) == []
