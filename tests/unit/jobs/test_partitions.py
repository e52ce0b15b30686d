"""How a partition is told from another; tests/azure/test_azureml_jobs.py has the whole job."""

from __future__ import annotations

from pathlib import Path

import pytest

from noria.jobs.partitions import partition_name

FILES = ["eu/a.parquet", "us/a.parquet", "a.parquet", "2026.01.parquet"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("eu/a.parquet", "eu/a"),
        ("us/a.parquet", "us/a"),
        ("a.parquet", "a"),
        ("2026.01.parquet", "2026.01"),
        ("new/since.parquet", "since"),
    ],
)
def test_a_partition_is_named_by_its_path_in_the_folder(path: str, name: str) -> None:
    assert partition_name(Path("/mnt/azureml/wd/INPUT_files") / path, FILES) == name
