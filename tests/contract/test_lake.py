"""What every lake back end must do; one body, a parameter for each back end."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from noria.errors import BusyError, InputError, StorageError
from noria.lake import Lake, open_lake
from tests.contract.conftest import BACK_ENDS, Place
from tests.support.forks import garbage_kept

pytestmark = pytest.mark.slow

HOLDER = """
import sys
from noria.lake.abfs import lease
from noria.settings import Settings
from noria.workspace import Workspace

lease.LEASE_SECONDS = 15  # the shortest that there is
with Workspace.open(Settings.from_env()).lake.lock("promote-x"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holder(place: Place, home: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its standard input ends."""
    environment = {**os.environ, **place.environment, "NORIA_LAKE_URL": place.url, "NORIA_HOME": str(home)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


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


def test_what_two_put_at_once_is_one_of_them(reopen: Callable[[], Lake], tmp_path: Path) -> None:
    contents = {letter: letter.encode() * 9_000_000 for letter in "ab"}

    def put(letter: str) -> None:
        lake = reopen()
        for number in range(2):
            file = tmp_path / f"{letter}{number}"
            file.write_bytes(contents[letter])
            lake.put(file, "x.bin")

    threads = [threading.Thread(target=put, args=(letter,)) for letter in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reopen().read("x.bin") in contents.values()


@pytest.mark.parametrize("name", ["a b", "a%20b", "a+b", "größe", "a=b&c", "2026-01-01T00:00:00+00:00"])
def test_awkward_names(lake: Lake, name: str) -> None:
    path = f"runs/{name}/{name}.json"
    assert lake.create(path, name.encode())
    assert list(lake.list("runs")) == [path]
    assert lake.read(path) == name.encode()
    with lake.local(path) as file:
        assert file.read_bytes() == name.encode()
    lake.remove(f"runs/{name}")
    assert not lake.exists(path)


def test_an_empty_file_is_a_file(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    lake.put(tmp_path / "empty", "empty")
    assert lake.exists("empty") and lake.read("empty") == b""
    with lake.local("empty") as file:
        assert file.read_bytes() == b""


def test_what_cannot_be_put_is_an_error(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"x\.bin"):
        lake.put(tmp_path / "none", "x.bin")
    assert list(lake.list("")) == []


def test_list_is_sorted_and_shows_published_files_alone(lake: Lake, file: Path) -> None:
    for path in ("b/2.json", "b/1.json", "a/x/y.json", "a-b/x.json", "c.json"):
        lake.create(path, b"{}")
    lake.put(file, "b/3/data.csv")
    assert list(lake.list("b")) == ["b/1.json", "b/2.json", "b/3/data.csv"]
    everything = ["a/x/y.json", "a-b/x.json", "b/1.json", "b/2.json", "b/3/data.csv", "c.json"]
    assert list(lake.list("")) == everything
    assert list(lake.list("none")) == list(lake.list("c.json")) == []


def test_sizes_are_those_of_the_files_in_the_order_of_the_list(lake: Lake, file: Path) -> None:
    lake.create("b/2.json", b"12")
    lake.create("a.json", b"")
    lake.put(file, "b/1.csv")
    assert list(lake.sizes("")) == [("a.json", 0), ("b/1.csv", file.stat().st_size), ("b/2.json", 2)]
    assert list(lake.sizes("b")) == [("b/1.csv", file.stat().st_size), ("b/2.json", 2)]


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


def test_a_lock_that_another_process_holds(lake: Lake, place: Place, tmp_path: Path) -> None:
    with holder(place, tmp_path) as other:
        with pytest.raises(BusyError), lake.lock("promote-x", 0.3):
            pass
        assert other.stdin is not None
        other.stdin.close()
        with lake.lock("promote-x", wait_seconds=10):
            pass


@pytest.fixture(scope="module", autouse=True)
def killed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Place]:
    """Places whose lock a killed process held; made early, so that other tests pass the time until it is free."""
    places: dict[str, Place] = {}
    for name, back_end in BACK_ENDS.items():
        folder = tmp_path_factory.mktemp(name)
        with contextlib.suppress(pytest.skip.Exception):  # no Azurite here: the test itself says so
            place = back_end(request, folder)
            with holder(place, folder):  # killed at the end
                places[name] = place
    return places


def test_a_killed_holder_holds_no_longer(back_end: str, killed: dict[str, Place], tmp_path: Path) -> None:
    place = killed[back_end]
    with open_lake(place.url, place.connection, tmp_path).lock("promote-x", wait_seconds=20):
        pass


def test_a_forked_process_uses_the_lake_too(lake: Lake) -> None:
    lake.create("parent.json", b"1")
    with garbage_kept():
        process_id = os.fork()
        if process_id == 0:  # as Airflow starts its tasks
            done = False
            signal.alarm(30)
            with contextlib.suppress(BaseException):
                done = lake.create("child.json", lake.read("parent.json"))
            os._exit(0 if done else 1)
    assert os.waitpid(process_id, 0)[1] == 0
    assert lake.read("child.json") == b"1"


def test_an_unknown_scheme_is_an_error() -> None:
    with pytest.raises(InputError, match="s3://bucket"):
        open_lake("s3://bucket/x")


def test_it_knows_what_time_it_is(lake: Lake) -> None:
    now = lake.now()
    assert now.utcoffset() == timedelta(0) and abs(now - datetime.now(UTC)) < timedelta(minutes=1)
