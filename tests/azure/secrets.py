"""Looks for secrets in everything that a run has left: logs, records, databases, archives."""

from __future__ import annotations

import base64
import gzip
import re
import sqlite3
import urllib.parse
import zipfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TAIL = 12
"""Bytes by which a long secret is recognised: its end, since all tokens begin alike."""
SHORTEST = 6
_LONG_WORD = re.compile(rb"[A-Za-z0-9+/=_.%%~-]{%d,}" % TAIL)
_AROUND = 40


@dataclass(frozen=True)
class Leak:
    """A secret that was found.

    Attributes:
        file: Where.
        context: What stands before it; the secret itself is not shown.
    """

    file: Path
    context: str

    def __str__(self) -> str:
        return f"{self.file}: …{self.context}***"


def assert_no_secrets(paths: Iterable[Path], secrets: Iterable[str], *, except_below: Collection[Path] = ()) -> None:
    """Fail, naming files and not secrets, if any of the secrets is in any file below the paths.

    Args:
        paths: Files and folders; at least one file must be there, or the test would be looking at nothing.
        secrets: As they are; they are looked for in this form, quoted for a URL, and in base64.
        except_below: Files and folders that may hold them.
    """
    leaks, count = find_secrets(paths, secrets, except_below=except_below)
    assert count, "there is no file to look into"
    assert not leaks, f"{len(leaks)} secrets were left:\n" + "\n".join(map(str, leaks[:20]))


def find_secrets(
    paths: Iterable[Path], secrets: Iterable[str], *, except_below: Collection[Path] = ()
) -> tuple[list[Leak], int]:
    """Secrets in files below the paths, and how many files were read."""
    wanted = _Wanted(secrets)
    leaks: list[Leak] = []
    count = 0
    for file in _files(paths, except_below):
        count += 1
        for text in _contents(file):
            leaks += [Leak(file, context) for context in wanted.within(text)]
    return leaks, count


class _Wanted:
    """The secrets, in a form that one pass over a file suffices for thousands of them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._by_tail: dict[bytes, set[bytes]] = {}
        self._odd: set[bytes] = set()
        for secret in dict.fromkeys(secrets):
            if len(secret) < SHORTEST:
                raise ValueError(f"a secret of {len(secret)} characters would be found everywhere")
            for form in _forms(secret):
                if len(form) >= TAIL and _LONG_WORD.fullmatch(form):
                    self._by_tail.setdefault(form[-TAIL:], set()).add(form)
                else:
                    self._odd.add(form)

    def within(self, data: bytes) -> Iterator[str]:
        """What stands before each secret in the data."""
        for form in self._odd:
            if (place := data.find(form)) >= 0:
                yield _before(data, place)
        for word in _LONG_WORD.finditer(data):
            text = word[0]
            for end in range(TAIL, len(text) + 1):
                for form in self._by_tail.get(text[end - TAIL : end], ()):
                    if text.endswith(form, 0, end):
                        yield _before(data, word.start() + end - len(form))


def _forms(secret: str) -> set[bytes]:
    raw = secret.encode()
    quoted = urllib.parse.quote(secret, safe="").encode()
    return {raw, quoted, base64.b64encode(raw), base64.urlsafe_b64encode(raw)}


def _before(data: bytes, place: int) -> str:
    return data[max(0, place - _AROUND) : place].decode(errors="replace").replace("\n", " ")


def _files(paths: Iterable[Path], except_below: Collection[Path]) -> Iterator[Path]:
    for path in paths:
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and not any(file.is_relative_to(allowed) for allowed in except_below):
                yield file


def _contents(file: Path) -> Iterator[bytes]:
    """What is in a file: its bytes, and what they stand for if they are packed."""
    try:
        data = file.read_bytes()
    except OSError:  # it went away meanwhile
        return
    yield data
    if data.startswith(b"SQLite format 3\0"):  # a long value is spread over pages
        yield from _rows(file)
    elif data.startswith(b"\x1f\x8b"):
        yield gzip.decompress(data)
    elif data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                yield archive.read(name)


def _rows(file: Path) -> Iterator[bytes]:
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        for line in database.iterdump():
            yield line.encode()
