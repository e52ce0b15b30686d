"""One local Spark for all tests of Spark jobs, and only for them: it is gone before other tests begin."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from noria.compute.spark import spark_configuration, spark_environment
from noria.settings import Settings


@pytest.fixture(scope="package")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    home = tmp_path_factory.mktemp("spark-home")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in spark_environment(Settings.from_env({**os.environ, "NORIA_HOME": str(home)})).items():
            patch.setenv(name, value)
        builder = SparkSession.builder.appName("tests").master("local[2]")
        for name, value in spark_configuration("local[2]").items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        yield session
        session.stop()
