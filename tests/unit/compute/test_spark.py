"""Scripts on a real local Spark, in a child process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from noria.compute.spark import LocalSpark, spark_configuration
from noria.errors import JobError
from noria.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({**os.environ, "NORIA_HOME": str(tmp_path / "home")})


def test_a_local_driver_listens_on_loopback_only() -> None:
    configuration = spark_configuration("local[2]")
    assert configuration["spark.driver.bindAddress"] == "127.0.0.1"
    assert configuration["spark.driver.host"] == "127.0.0.1"
    assert configuration["spark.ui.enabled"] == "false"


def test_a_cluster_keeps_its_own_address() -> None:
    assert "spark.driver.host" not in spark_configuration("spark://head:7077")


@pytest.mark.slow
def test_a_script_that_fails_is_an_error_with_the_end_of_its_log(settings: Settings, tmp_path: Path) -> None:
    script = tmp_path / "wrong.py"
    script.write_text("import sys\nprint('the last words:', sys.argv[1])\nsys.exit(7)\n")
    with pytest.raises(JobError, match=r"wrong\.py ended with exit code") as caught:
        LocalSpark(settings).submit(script, ["farewell; rm -rf /"])
    assert "the last words: farewell; rm -rf /" in str(caught.value)
    assert "7" in str(caught.value)
