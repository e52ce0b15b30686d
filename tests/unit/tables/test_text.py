"""Bytes become UTF-8 whatever they are, wherever a block ends."""

import io
import random

import pytest

from noria.tables.text import TextStream


def read_all(content: bytes, size: int) -> tuple[bytes, bool]:
    stream, blocks = TextStream(io.BytesIO(content)), []
    while block := stream.read(size):
        blocks.append(block)
    return b"".join(blocks), stream.damaged


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64])
def test_the_same_as_decoding_at_once(size: int) -> None:
    rng = random.Random(size)
    for _ in range(500):
        text = "".join(rng.choice(["a", "é", "✓", "😀", "\n", ",", "x" * 10]) for _ in range(rng.randint(1, 30)))
        content = rng.choice([b"", b"\xef\xbb\xbf"]) + text.encode()
        content = content[: rng.choice([None, -1, -2])] or b"x"
        if content in (b"\xef", b"\xef\xbb"):  # the codec drops half a byte order mark
            continue
        expected = content.decode("utf-8-sig", errors="replace")
        found, damaged = read_all(content, size)
        assert found.decode().rstrip("\n") == expected.lstrip("\r\n").rstrip("\n")
        assert damaged == ("\ufffd" in expected)


def test_a_missing_last_line_break_is_added() -> None:
    assert read_all(b"a,b\n1,2", 1 << 20) == (b"a,b\n1,2\n", False)
