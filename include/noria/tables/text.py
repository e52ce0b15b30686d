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
        self.damaged = False

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to about `size` bytes; empty at the end alone."""
        while True:
            data = self._file.read(size)
            at_end = size < 0 or len(data) < size
            text = self._valid(data, final=at_end)
            if self._at_start:
                text = text.lstrip(b"\r\n")
                self._at_start = not text
            if at_end and text and not text.endswith((b"\n", b"\r")):
                return text + b"\n"
            if text or not data:
                return text

    def _valid(self, data: bytes, *, final: bool) -> bytes:
        if not self._decoding and data.isascii():
            return data
        text = self._decoder.decode(data, final=final)
        self._decoding = bool(self._decoder.getstate()[0])
        self.damaged = self.damaged or REPLACEMENT in text
        return text.encode()
