"""The generated students against the published moments of the data they stand for."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

from noria.pipeline import SampleSource
from noria.settings import Settings
from noria.sources import open_source
from noria.sources.sample import FACTORS, SCORES, students
from tests.support.reference import reference


@pytest.fixture(scope="module")
def large() -> pa.Table:
    return pa.Table.from_batches(students(400_000, seed=3))


def scores(table: pa.Table) -> np.ndarray:
    return np.column_stack([table[s].to_numpy() for s in SCORES]).astype(float)


def design(table: pa.Table, *numbers: str) -> np.ndarray:
    """Intercept, one-hot factors without their first level, and further numbers."""
    columns = [np.ones(table.num_rows), *(table[n].to_numpy().astype(float) for n in numbers)]
    for factor, levels in FACTORS.items():
        text = np.array(table[factor].to_pylist())
        columns += [(text == level).astype(float) for level in list(levels)[1:]]
    return np.column_stack(columns)


def test_means_and_standard_deviations(large: pa.Table) -> None:
    assert scores(large).mean(axis=0) == pytest.approx([66.8, 69.6, 68.5], abs=0.6)
    assert scores(large).std(axis=0) == pytest.approx([15.2, 14.7, 15.3], abs=0.35)


def test_scores_are_whole_and_between_0_and_100(large: pa.Table) -> None:
    assert all(large.schema.field(s).type == pa.int64() for s in SCORES)
    assert scores(large).min() >= 0
    assert scores(large).max() == 100


def test_shares_of_the_levels(large: pa.Table) -> None:
    for factor, levels in FACTORS.items():
        counts = {v["values"]: v["counts"] for v in large[factor].value_counts().to_pylist()}
        assert {k: v / large.num_rows for k, v in counts.items()} == pytest.approx(
            {level: share for level, (share, _) in levels.items()}, abs=0.004
        )


def test_linear_r2_of_the_math_score(large: pa.Table) -> None:
    x, y = design(large, "reading score", "writing score"), large["math score"].to_numpy().astype(float)
    residuals = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    assert 1 - residuals.var() / y.var() == pytest.approx(0.875, abs=0.01)


def test_residuals_have_the_declared_spread_correlation_and_skew(large: pa.Table) -> None:
    x, y = design(large), scores(large)
    inside = (y > 0).all(axis=1) & (y < 100).all(axis=1)
    residuals = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    assert residuals.std(axis=0) == pytest.approx([12.8, 12.9, 12.5], abs=0.4)
    assert np.corrcoef(residuals.T)[np.triu_indices(3, 1)] == pytest.approx([0.88, 0.90, 0.947], abs=0.01)
    skew = (residuals**3).mean(axis=0) / residuals.std(axis=0) ** 3
    assert skew == pytest.approx([-0.23] * 3, abs=0.12)
    assert inside.mean() > 0.9


def test_effects_are_the_published_ones(large: pa.Table) -> None:
    coefficients = np.linalg.lstsq(design(large), scores(large), rcond=None)[0]
    male, lunch_reduced, prepared = coefficients[1], coefficients[-2], coefficients[-1]
    assert male == pytest.approx([5.1, -6.9, -8.9], abs=0.5)
    assert -lunch_reduced == pytest.approx([12.0, 8.1, 9.0], abs=0.6)
    assert prepared == pytest.approx([4.6, 6.6, 9.5], abs=0.8)


def test_same_seed_same_bytes_and_other_seed_others(tmp_path: Path) -> None:
    def fetch(rows: int, seed: int) -> str:
        return open_source(SampleSource(rows=rows, seed=seed), Settings(tmp_path)).fetch(tmp_path / "x").sha256

    assert fetch(500, 7) == fetch(500, 7) == hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest()
    assert fetch(500, 8) != fetch(500, 7)


def test_a_larger_sample_begins_with_the_smaller_one() -> None:
    small = pa.Table.from_batches(students(1_000, seed=7))
    large = pa.Table.from_batches(students(100_000, seed=7))
    assert large.slice(0, 1_000).equals(small)
    assert large.num_rows == 100_000


def test_same_headers_and_levels_as_the_reference(tmp_path: Path) -> None:
    open_source(SampleSource(rows=5_000), Settings(tmp_path)).fetch(tmp_path / "x.csv")
    ours = csv.read_csv(tmp_path / "x.csv")
    theirs = csv.read_csv(reference("students_performance_kaggle.csv"))
    assert ours.column_names == theirs.column_names
    for factor in FACTORS:
        assert set(ours[factor].to_pylist()) == set(theirs[factor].to_pylist())


def test_millions_of_rows_need_little_memory(tmp_path: Path) -> None:
    code = (
        "import re, sys; from pathlib import Path;"
        "from noria.pipeline import SampleSource; from noria.settings import Settings;"
        "from noria.sources import open_source;"
        "print(open_source(SampleSource(rows=1_500_000), Settings(Path('.'))).fetch(Path(sys.argv[1])).bytes);"
        # getrusage's maximum would include that of the test's process, which this one was forked from
        "print(int(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1]) * 1024)"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], check=True, capture_output=True, text=True)
    size, peak_rss_bytes = map(int, out.stdout.split())
    assert size > 90_000_000
    assert peak_rss_bytes < 400e6
