"""Noria's own students: seeded data of the same shape and moments as "Students Performance in Exams".

Factors are independent, effects additive, residuals correlated and slightly skewed; scores are rounded and clipped to
0-100. The figures were estimated from 29,641 rows of the public generator behind that data set. Rows come in chunks,
each with a random stream of its own: memory is bounded, and a larger sample begins with the rows of a smaller one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv
from typing_extensions import override

from noria import pipeline
from noria.sources.base import Fetched, HashingWriter, Source

CHUNK_ROWS = 65_536
SCORES = ("math score", "reading score", "writing score")
INTERCEPT = (49.3, 60.9, 57.8)
"""Points of a girl of group A whose parents ended high school, with reduced lunch and no preparation."""
FACTORS: dict[str, dict[str, tuple[float, tuple[float, float, float]]]] = {
    # header -> level -> (share, effect on each score)
    "gender": {"female": (0.5, (0, 0, 0)), "male": (0.5, (5.1, -6.9, -8.9))},
    "race/ethnicity": {
        "group A": (0.077, (0, 0, 0)),
        "group B": (0.202, (0.6, 0.6, 0.6)),
        "group C": (0.320, (1.7, 1.7, 1.7)),
        "group D": (0.261, (4.6, 3.6, 5.6)),
        "group E": (0.140, (12.5, 7.6, 7.5)),
    },
    "parental level of education": {
        "some high school": (0.193, (-2.0, -1.8, -1.9)),
        "high school": (0.197, (0, 0, 0)),
        "some college": (0.230, (1.6, 1.7, 2.7)),
        "associate's degree": (0.193, (3.8, 3.9, 4.9)),
        "bachelor's degree": (0.117, (5.8, 5.8, 7.7)),
        "master's degree": (0.070, (7.8, 7.8, 9.8)),
    },
    "lunch": {"standard": (0.65, (12.0, 8.1, 9.0)), "free/reduced": (0.35, (0, 0, 0))},
    "test preparation course": {"none": (0.655, (0, 0, 0)), "completed": (0.345, (4.6, 6.6, 9.5))},
}
RESIDUAL_SD = (12.8, 12.9, 12.5)
RESIDUAL_CORRELATION = ((1.0, 0.88, 0.90), (0.88, 1.0, 0.947), (0.90, 0.947, 1.0))
RESIDUAL_SKEW = -0.23


class SampleSource(Source):
    """Students by number and seed."""

    def __init__(self, spec: pipeline.SampleSource) -> None:
        self._rows, self._seed = spec.rows, spec.seed

    @override
    def fetch(self, target: Path, etag: str | None = None) -> Fetched:
        with target.open("wb") as sink:
            writer = HashingWriter(sink)
            with csv.CSVWriter(pa.PythonFile(writer, mode="w"), _schema()) as table:
                for batch in students(self._rows, self._seed):
                    table.write_batch(batch)
        return Fetched(modified=True, sha256=writer.sha256, bytes=writer.bytes)


def students(rows: int, seed: int) -> Iterator[pa.RecordBatch]:
    """Batches of students; the same rows for the same seed, whatever their number.

    Returns:
        Batches of up to 65,536 rows: the five factors as text, the three scores as integers from 0 to 100.
    """
    for number, start in enumerate(range(0, rows, CHUNK_ROWS)):
        yield _chunk(np.random.default_rng([seed, number])).slice(0, min(CHUNK_ROWS, rows - start))


def _chunk(rng: np.random.Generator) -> pa.RecordBatch:
    scores = np.tile(np.array(INTERCEPT), (CHUNK_ROWS, 1))
    columns: list[Any] = []
    for levels in FACTORS.values():
        shares = np.array([share for share, _ in levels.values()])
        chosen = rng.choice(len(levels), size=CHUNK_ROWS, p=shares / shares.sum())
        scores += np.array([effect for _, effect in levels.values()], dtype=float)[chosen]
        columns.append(pa.DictionaryArray.from_arrays(chosen.astype(np.int32), list(levels)).cast(pa.string()))
    scores += _residuals(rng)
    points = np.clip(np.rint(scores), 0, 100).astype(np.int64)
    return pa.record_batch([*columns, *(pa.array(points[:, i]) for i in range(len(SCORES)))], schema=_schema())


def _residuals(rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Correlated normal deviates, bent by a quadratic term to the wanted skew; its variance is taken out again."""
    normal = rng.standard_normal((CHUNK_ROWS, 3)) @ np.linalg.cholesky(np.array(RESIDUAL_CORRELATION)).T
    bend = RESIDUAL_SKEW / 6  # the skew of z + b(z^2 - 1) is 6b + O(b^3)
    bent = (normal + bend * (normal**2 - 1)) / np.sqrt(1 + 2 * bend**2)
    residuals: np.ndarray[Any, np.dtype[np.float64]] = bent * np.array(RESIDUAL_SD)
    return residuals


def _schema() -> pa.Schema:
    return pa.schema([*((name, pa.string()) for name in FACTORS), *((name, pa.int64()) for name in SCORES)])
