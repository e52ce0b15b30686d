import hashlib
from pathlib import Path

import pytest

from noria.errors import SourceError
from noria.pipeline import FileSource, HttpsSource
from noria.settings import Settings
from noria.sources import open_source
from tests.support.http_server import serve


def test_a_file_is_copied_not_linked(tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_bytes(b"a,b\n1,2\n" * 500_000)
    fetched = open_source(FileSource(kind="file", path=str(source)), Settings(tmp_path)).fetch(target)
    assert fetched.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert fetched.bytes == target.stat().st_size == 4_000_000
    source.write_bytes(b"changed")
    assert target.stat().st_size == 4_000_000


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=rf"no file {tmp_path}/none\.csv"):
        open_source(FileSource(kind="file", path=str(tmp_path / "none.csv")), Settings(tmp_path)).fetch(tmp_path / "x")
    with pytest.raises(SourceError, match="is a folder"):
        open_source(FileSource(kind="file", path=str(tmp_path)), Settings(tmp_path)).fetch(tmp_path / "x")


def test_https_sends_the_token_of_its_connection(tmp_path: Path) -> None:
    with serve() as server:
        url = server.put("/x.csv", b"a,b\n1,2\n")
        spec = HttpsSource(kind="https", url=url, connection="data_host")
        assert open_source(spec, Settings(tmp_path), "s3cret").fetch(tmp_path / "x").bytes == 8
        assert server.requests[0].headers["authorization"] == "Bearer s3cret"
