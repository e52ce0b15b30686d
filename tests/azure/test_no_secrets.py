"""The look for secrets finds what was planted, in every form; and a run with secrets in its hands leaves none."""

from __future__ import annotations

import base64
import gzip
import sqlite3
import urllib.parse
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.azure.secrets import assert_no_secrets, find_secrets

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiIxIn0.c2lnbmF0dXJlLW9mLXRoaXMtb25l"
SIBLING = "eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiIxIn0.YW5vdGhlci1zaWduYXR1cmUtaGVyZQ"
PASSWORD = "p@ss w0rd"
SIGNATURE = "k3y/With+Odd=Signs/And+SomeMore=="


def _sqlite(file: Path, text: str) -> None:
    with sqlite3.connect(file) as database:
        database.execute("create table log (line text)")
        database.execute("insert into log values (?)", ("x" * 3000 + text + "x" * 9000,))
    database.close()


def _zipped(file: Path, text: str) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/log.txt", text)


WAYS: dict[str, Callable[[Path, str], object]] = {
    "as it is": lambda file, secret: file.write_text(f"INFO Authorization: Bearer {secret}\n"),
    "in the midst of a word": lambda file, secret: file.write_text(f"abc{secret}def"),
    "in a URL": lambda file, secret: file.write_text(f"GET /c?sig={urllib.parse.quote(secret, safe='')}&se=1"),
    "in base64": lambda file, secret: file.write_text(base64.b64encode(secret.encode()).decode()),
    "compressed": lambda file, secret: file.write_bytes(gzip.compress(f"x {secret} x".encode())),
    "in an archive": _zipped,
    "in a database": _sqlite,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("secret", [TOKEN, PASSWORD, SIGNATURE])
def test_a_planted_secret_is_found(tmp_path: Path, way: str, secret: str) -> None:
    file = tmp_path / "deep" / "log"
    file.parent.mkdir()
    WAYS[way](file, secret)
    (tmp_path / "other.log").write_text("nothing here")
    others = [f"another-secret-{number}" for number in range(2000)]
    with pytest.raises(AssertionError, match="deep/log") as caught:
        assert_no_secrets([tmp_path], [*others, secret])
    assert secret not in str(caught.value)


def test_what_only_looks_alike_is_none(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"token {TOKEN[:-1]} and {TOKEN.partition('.')[0]} and password")
    leaks, count = find_secrets([tmp_path], [TOKEN, SIBLING, PASSWORD, SIGNATURE])
    assert (leaks, count) == ([], 1)


def test_files_that_may_hold_them_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "key").write_text(TOKEN)
    (tmp_path / "log").write_text("fine")
    assert_no_secrets([tmp_path], [TOKEN], except_below=[tmp_path / "tls"])


def test_looking_at_nothing_is_no_proof(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no file"):
        assert_no_secrets([tmp_path / "not_there", tmp_path], [TOKEN])
    with pytest.raises(ValueError, match="4 characters"):
        find_secrets([tmp_path], ["abcd"])
