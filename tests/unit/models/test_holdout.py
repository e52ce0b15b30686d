"""The holdout stays as the data grows."""

import hashlib
import time
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from noria.models.holdout import among, fingerprint, from_bytes, in_holdout, row_hashes, row_set
from noria.pipeline import Column
from tests.support.learning import fields, pipeline

COLUMNS = pipeline().columns


def test_every_old_row_keeps_its_side_when_rows_are_added_and_shuffled() -> None:
    old, new = fields(500, seed=1), fields(700, seed=2)
    before = in_holdout(row_hashes(old, COLUMNS, "s"), 0.3)
    grown = pa.concat_tables([new, old])
    order = np.random.default_rng(0).permutation(len(grown))
    after = in_holdout(row_hashes(grown.take(order), COLUMNS, "s"), 0.3)
    restored = np.empty(len(grown), bool)
    restored[order] = after
    assert np.array_equal(restored[700:], before)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_share_is_right(share: float) -> None:
    held = in_holdout(row_hashes(fields(20_000), COLUMNS, ""), share)
    assert held.mean() == pytest.approx(share, abs=4 * (share * (1 - share) / 20_000) ** 0.5)


def test_a_smaller_holdout_lies_within_a_larger_one() -> None:
    hashes = row_hashes(fields(2000), COLUMNS, "")
    small, large = in_holdout(hashes, 0.1), in_holdout(hashes, 0.3)
    assert small.any() and not (small & ~large).any()


def test_equal_rows_fall_on_one_side_and_another_salt_draws_another_holdout() -> None:
    table = fields(1000)
    twice = in_holdout(row_hashes(pa.concat_tables([table, table]), COLUMNS, ""), 0.3)
    assert np.array_equal(twice[:1000], twice[1000:])
    other = in_holdout(row_hashes(table, COLUMNS, "other"), 0.3)
    assert 0.3 < (other != twice[:1000]).mean() < 0.55  # 2 · 0.3 · 0.7 = 0.42


def test_chunks_column_order_and_undeclared_columns_do_not_matter() -> None:
    table = fields(300, null_share=0.1)
    expected = row_hashes(table, COLUMNS, "s")
    chunked = pa.concat_tables([table.slice(0, 17), table.slice(17, 100), table.slice(117)])
    assert np.array_equal(row_hashes(chunked, COLUMNS, "s"), expected)
    turned = table.select(table.column_names[::-1]).append_column("extra", pa.nulls(300))
    assert np.array_equal(row_hashes(turned, COLUMNS[::-1], "s"), expected)


def test_the_hash_is_written_down_and_does_not_depend_on_any_library() -> None:
    columns = [Column(name="b", type="number"), Column(name="a", type="string"), Column(name="c", type="date")]
    table = pa.table({"a": ["x", None], "b": [0.5, -0.0], "c": [date(1970, 1, 2), None]})
    bits = int(np.float64(0.5).view(np.int64))
    rows = [f"x\x1f{bits}\x1f1", "\x00\x1f0\x1f\x00"]
    expected = [hashlib.blake2b(f"salt\x1e{row}".encode(), digest_size=16).digest() for row in rows]
    assert [bytes(h) for h in row_hashes(table, columns, "salt")] == expected


def test_the_fingerprint_names_a_set_of_rows() -> None:
    hashes = row_hashes(fields(50), COLUMNS, "")
    assert fingerprint(hashes) == fingerprint(hashes[::-1])
    assert fingerprint(hashes) != fingerprint(hashes[1:])


def test_rows_are_found_again_by_their_hashes() -> None:
    hashes = row_hashes(fields(500), COLUMNS, "s")
    different = row_set(np.concatenate([hashes[::-1], hashes[:50]]))
    assert [bytes(h) for h in different] == sorted(bytes(h) for h in hashes)
    assert np.array_equal(from_bytes(different.tobytes()), different)
    others = row_hashes(fields(500, seed=9), COLUMNS, "s")
    mixed = np.concatenate([others[:3], hashes[7:9], others[3:5]])
    assert among(mixed, different).tolist() == [False] * 3 + [True] * 2 + [False] * 2
    assert not among(hashes, hashes[:0]).any() and among(hashes[:0], hashes).shape == (0,)
    with pytest.raises(ValueError, match="reshape"):
        from_bytes(b"x" * 17)


def test_a_hundred_thousand_rows_take_a_moment() -> None:
    table = fields(2000)
    table = pa.concat_tables([table] * 50)
    started = time.process_time()
    row_hashes(table, COLUMNS, "")
    assert time.process_time() - started < 5
