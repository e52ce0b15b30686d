"""What every lake back end must do; one body, a parameter for each back end."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from noria.errors import BusyError, InputError, StorageError
from noria.lake import Lake, open_lake


@pytest.fixture(params=["disk"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Lake]:
    """Opens the same lake again and again, as processes after one another do."""
    urls = {"disk": str(tmp_path / "lake")}
    return lambda: open_lake(urls[request.param])


@pytest.fixture
def lake(reopen: Callable[[], Lake]) -> Lake:
    return reopen()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "local.bin"
    path.write_bytes(os.urandom(3_000_000))
    return path


def test_what_was_created_is_read_and_stays(lake: Lake, reopen: Callable[[], Lake]) -> None:
    assert not lake.exists("a/b/c.json")
    assert lake.create("a/b/c.json", b"1")
    assert not lake.create("a/b/c.json", b"2")
    assert reopen().read("a/b/c.json") == b"1"
    assert reopen().exists("a/b/c.json")
    assert not lake.exists("a/b")


def test_replace_overwrites(lake: Lake) -> None:
    lake.replace("x.json", b"1")
    lake.replace("x.json", b"22")
    assert lake.read("x.json") == b"22"


@pytest.mark.parametrize("path", ["none.json", "no/such/folder/x.json"])
def test_what_is_not_there(lake: Lake, path: str) -> None:
    with pytest.raises(FileNotFoundError):
        lake.read(path)
    with pytest.raises(FileNotFoundError), lake.local(path):
        pass
    assert not lake.exists(path)
    lake.remove(path)


def test_a_file_in_the_place_of_a_folder(lake: Lake) -> None:
    lake.replace("a", b"1")
    assert not lake.exists("a/b")
    with pytest.raises(FileNotFoundError):
        lake.read("a/b")


def test_put_takes_a_file_and_local_gives_it_back(lake: Lake, file: Path) -> None:
    content = file.read_bytes()
    lake.put(file, "raw/x/data.csv")
    with lake.local("raw/x/data.csv") as local:
        assert local.read_bytes() == content
    assert lake.read("raw/x/data.csv") == content


def test_put_again_leaves_the_last_one(lake: Lake, file: Path, tmp_path: Path) -> None:
    lake.put(file, "x.bin")
    other = tmp_path / "other.bin"
    other.write_bytes(b"other")
    lake.put(other, "x.bin")
    assert lake.read("x.bin") == b"other"


def test_list_is_sorted_and_shows_published_files_alone(lake: Lake, file: Path) -> None:
    for path in ("b/2.json", "b/1.json", "a/x/y.json", "c.json"):
        lake.create(path, b"{}")
    lake.put(file, "b/3/data.csv")
    assert list(lake.list("b")) == ["b/1.json", "b/2.json", "b/3/data.csv"]
    assert list(lake.list("")) == ["a/x/y.json", "b/1.json", "b/2.json", "b/3/data.csv", "c.json"]
    assert list(lake.list("none")) == []


def test_remove_takes_a_file_or_a_folder(lake: Lake) -> None:
    for path in ("a/1.json", "a/b/2.json", "ab.json"):
        lake.create(path, b"{}")
    lake.remove("a/1.json")
    assert list(lake.list("")) == ["a/b/2.json", "ab.json"]
    lake.remove("a")
    assert list(lake.list("")) == ["ab.json"]


@pytest.mark.parametrize("path", ["../x.json", "a/../../x.json", "/etc/hostname"])
def test_no_path_leaves_the_lake(lake: Lake, path: str) -> None:
    for access in (lake.exists, lake.read, lake.remove, lambda p: lake.create(p, b"")):
        with pytest.raises(StorageError, match="leaves the lake"):
            access(path)


def test_url_is_below_the_root(lake: Lake) -> None:
    assert lake.url("a/b.html") == f"{lake.root}/a/b.html"


def test_one_of_many_creates(reopen: Callable[[], Lake]) -> None:
    won: list[int] = []
    start = threading.Barrier(8)

    def create(number: int) -> None:
        lake = reopen()
        start.wait()
        if lake.create("runs/x/decision.json", b"%d" % number):
            won.append(number)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert reopen().read("runs/x/decision.json") == b"%d" % won[0]


def test_a_reader_sees_the_old_or_the_new_document_never_a_part(reopen: Callable[[], Lake]) -> None:
    documents = {bytes([letter]) * 200_000 for letter in b"ab"}
    lake, done, seen = reopen(), threading.Event(), set()
    lake.replace("x.json", b"a" * 200_000)

    def read() -> None:
        other = reopen()
        while not done.is_set():
            seen.add(other.read("x.json"))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        for document in documents:
            lake.replace("x.json", document)
    done.set()
    reader.join()
    assert seen <= documents


def test_the_lock_lets_one_in_at_a_time(reopen: Callable[[], Lake]) -> None:
    order: list[str] = []

    def second() -> None:
        with reopen().lock("promote-x"):
            order.append("second")

    with reopen().lock("promote-x"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]


def test_a_lock_is_free_after_an_error_and_is_no_file(lake: Lake) -> None:
    with pytest.raises(ZeroDivisionError), lake.lock("promote-x"):
        _ = 1 / 0
    with lake.lock("promote-x", wait_seconds=1):
        assert list(lake.list("")) == []


def test_one_lock_is_not_another(lake: Lake) -> None:
    with lake.lock("promote-x"), lake.lock("promote-y", wait_seconds=1):
        pass


def test_a_lock_that_is_held_too_long(lake: Lake, reopen: Callable[[], Lake]) -> None:
    with lake.lock("promote-x"), pytest.raises(BusyError, match="promote-x"), reopen().lock("promote-x", 0.3):
        pass


def test_an_unknown_scheme_is_an_error() -> None:
    with pytest.raises(InputError, match="s3://bucket"):
        open_lake("s3://bucket/x")
