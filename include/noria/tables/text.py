"""Bytes of a file as valid UTF-8 without a byte order mark, each line ended; damaged places become U+FFFD."""

from __future__ import annotations

import codecs
import io
from typing import BinaryIO

REPLACEMENT = "\ufffd"


class TextStream(io.RawIOBase):
    """A readable file whose bytes are always UTF-8, so that one damaged row does not stop the reader.

    Attributes:
        damaged: Whether U+FFFD has been delivered so far; it stands for undecodable bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._decoding = True
        self._at_start = True
        self._ended = False
        self._last = b""
        self.damaged = False

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to about `size` bytes; empty at the end alone."""
        while True:
            data = self._file.read(size)
            text = self._valid(data)
            if self._at_start:
                text = text.lstrip(b"\r\n")
                self._at_start = not text
            if text:
                self._last = text[-1:]
                return text
            if not data:
                return self._end()

    def _end(self) -> bytes:
        """The line break that a file may lack at its end, once."""
        missing = not self._ended and self._last not in (b"", b"\n", b"\r")
        self._ended = True
        return b"\n" if missing else b""

    def _valid(self, data: bytes) -> bytes:
        if not self._decoding and data.isascii():
            return data
        text = self._decoder.decode(data, final=not data)
        self._decoding = bool(self._decoder.getstate()[0])
        self.damaged = self.damaged or REPLACEMENT in text
        return text.encode()
