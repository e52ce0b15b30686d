"""Where a Spark script runs: here, on local Spark; `noria.airflow` brings a runner for clusters of a connection."""

from __future__ import annotations

import collections
import importlib.util
import logging
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import psutil

from noria.compute.java import find_java
from noria.errors import JobError
from noria.settings import Settings

log = logging.getLogger(__name__)
_TAIL_LINES = 15
_GIBIBYTE = 2**30
_LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")


class SparkRunner(Protocol):
    """Runs a self-contained Spark script to its end."""

    def submit(self, script: Path, arguments: list[str]) -> None:
        """Run it. Raises JobError if it ends with anything but success."""


class LocalSpark:
    """Runs scripts with spark-submit in a child process.

    A driver on this machine is tuned to start fast: most tables are small, and of the seconds that a small one takes
    nearly all are the virtual machine's start.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def submit(self, script: Path, arguments: list[str]) -> None:
        """Run a script; its log goes to ours, and the end of it into the error if it fails."""
        master = self._settings.spark_master
        options = [f"--conf={key}={value}" for key, value in spark_configuration(master).items()]
        environment = spark_environment(self._settings)
        log.info("%s on Spark %s", script.name, master)
        with subprocess.Popen(
            [str(spark_home() / "bin" / "spark-submit"), "--master", master, *options, str(script), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self._settings.child_environment() | environment,
            cwd=environment["SPARK_LOCAL_DIRS"],
        ) as process:
            try:
                tail = _follow(process)
                code = process.wait()
            finally:
                process.kill()
        if code:
            raise JobError(
                f"{script.name} ended with exit code {code} on Spark {self._settings.spark_master}; its last lines:\n"
                + "\n".join(tail)
            )


def spark_configuration(master: str) -> dict[str, str]:
    """Spark's configuration for a master; a local driver starts fast and listens on loopback only.

    A small table costs little but compilation, by the JVM and of Spark's generated code, so both are kept short.
    """
    java_options = f"-Dlog4j2.configurationFile={_LOG_SETTINGS.as_uri()}"
    configuration = {"spark.ui.enabled": "false", "spark.driver.memory": _driver_memory()}
    if master.startswith("local"):
        java_options += " -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
        configuration |= {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.sql.shuffle.partitions": "1",
            "spark.sql.adaptive.enabled": "false",
            "spark.sql.codegen.wholeStage": "false",
            "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        }
    return configuration | {"spark.driver.extraJavaOptions": java_options}


def spark_environment(settings: Settings) -> dict[str, str]:
    """What spark-submit needs to know of this machine, beside the environment of its parent."""
    java = find_java(settings)
    log.info("%s", java.description)
    scratch = settings.home / "tmp" / "spark"
    scratch.mkdir(parents=True, exist_ok=True)
    return {
        "JAVA_HOME": str(java.home),
        "SPARK_HOME": str(spark_home()),
        "SPARK_LOCAL_DIRS": str(scratch),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONWARNINGS": "ignore::FutureWarning",
    }


def _follow(process: subprocess.Popen[str]) -> list[str]:
    """Log what the process says; its last lines."""
    tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
    for line in process.stdout or ():
        text = line.rstrip()
        if text:
            log.info("spark: %s", text)
            tail.append(text)
    return list(tail)


def spark_home() -> Path:
    """Where PySpark keeps Spark."""
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise JobError("PySpark is not installed", remedy="Run `make setup`.")
    return Path(spec.origin).parent


def _driver_memory() -> str:
    """A quarter of this machine, between half a gibibyte and two: all aggregates are of bounded size."""
    share = psutil.virtual_memory().total / 4
    return f"{round(min(2 * _GIBIBYTE, max(_GIBIBYTE / 2, share)) / 2**20)}m"
