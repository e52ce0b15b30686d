"""The frozen holdout: a row's side is decided by the hash of its values, so it stays as the data grows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noria.pipeline import Column

HASH_BYTES = 16
_FIELD, _NULL = "\x1f", "\x00"


def row_hashes(table: pa.Table, columns: Sequence[Column], salt: str) -> np.ndarray:
    """BLAKE2b of each row's typed values, whatever the order of rows and columns.

    Args:
        table: Typed table with n rows; other columns than the declared ones are not looked at.
        columns: The declared columns.
        salt: Another salt draws another holdout.

    Returns:
        uint8 array, n × 16.
    """
    texts = [_text(table.column(column.name)) for column in sorted(columns, key=lambda c: c.name)]
    rows = pc.binary_join_element_wise(*texts, _FIELD, null_handling="replace", null_replacement=_NULL)
    seed = hashlib.blake2b(salt.encode() + b"\x1e", digest_size=HASH_BYTES)
    digests = bytearray()
    for row in rows.to_pylist():
        digest = seed.copy()
        digest.update(row.encode())
        digests += digest.digest()
    return np.frombuffer(bytes(digests), np.uint8).reshape(-1, HASH_BYTES)


def in_holdout(hashes: np.ndarray, share: float) -> np.ndarray:
    """Which rows (n × 16 hashes) belong to the holdout: those whose hash lies in the lowest `share` of all hashes."""
    leading = np.ascontiguousarray(hashes[:, :8]).view(">u8").ravel()
    return leading < np.uint64(int(share * 2**64))


def fingerprint(hashes: np.ndarray) -> str:
    """SHA-256 over the sorted row hashes: the same set of rows gives the same value in any order."""
    order = np.lexsort(hashes.T[::-1])
    return hashlib.sha256(np.ascontiguousarray(hashes[order]).tobytes()).hexdigest()


def row_set(hashes: np.ndarray) -> np.ndarray:
    """The different ones of row hashes (n × 16), sorted."""
    return _whole(np.unique(_keys(hashes)))


def among(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of n row hashes (n × 16) are among others (m × 16); n booleans."""
    found: np.ndarray = np.isin(_keys(hashes), _keys(others))
    return found


def from_bytes(data: bytes) -> np.ndarray:
    """Row hashes (n × 16) from their bytes.

    Raises:
        ValueError: They are no whole number of hashes.
    """
    return np.frombuffer(data, np.uint8).reshape(-1, HASH_BYTES)


def _keys(hashes: np.ndarray) -> np.ndarray:
    """Each row hash as one value that can be compared and sorted."""
    return np.ascontiguousarray(hashes).view(f"V{HASH_BYTES}").ravel()


def _whole(keys: np.ndarray) -> np.ndarray:
    return keys.view(np.uint8).reshape(-1, HASH_BYTES)


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A canonical text of each value; numbers by their bits, since their decimal form depends on the library."""
    kind = column.type
    if pa.types.is_floating(kind):
        bits = [
            pa.array((chunk.cast(pa.float64()).fill_null(0).to_numpy() + 0.0).view(np.int64)) for chunk in column.chunks
        ]
        whole = pa.chunked_array(bits, pa.int64())
        return pc.if_else(pc.is_valid(column), whole, pa.scalar(None, pa.int64())).cast(pa.string())
    if pa.types.is_boolean(kind):
        return column.cast(pa.int8()).cast(pa.string())
    if pa.types.is_date32(kind):
        return column.cast(pa.int32()).cast(pa.string())
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64()).cast(pa.string())
    return column.cast(pa.string())
