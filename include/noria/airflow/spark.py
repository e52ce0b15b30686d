"""Spark jobs through the Spark provider: an Airflow connection says where they run."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException

from noria.compute.spark import LocalSpark, SparkRunner, spark_configuration, spark_environment, spark_home
from noria.errors import JobError
from noria.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import Connection

SPARK_CONNECTION = "spark_default"


class HookSpark:
    """Submits scripts by SparkSubmitHook.

    Args:
        settings: Where Java and scratch files of a driver on this machine are.
        local: Whether the driver's cluster is this machine too; it is then set up as `noria run` does it.
    """

    def __init__(self, settings: Settings, *, local: bool) -> None:
        self._settings, self._local = settings, local
        self._hook: Any = None

    def submit(self, script: Path, arguments: list[str]) -> None:
        """Run a script to its end. Raises JobError if it ends with anything but success."""
        from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook

        self._hook = SparkSubmitHook(
            conn_id=SPARK_CONNECTION, name=f"noria-{script.stem}", application_args=arguments, **self._options()
        )
        try:
            self._hook.submit(str(script))
        except AirflowException as error:
            raise JobError(f"{script.name} failed on the Spark of connection {SPARK_CONNECTION}:\n{error}") from None

    def kill(self) -> None:
        """End the job that is under way."""
        if self._hook is not None:
            self._hook.on_kill()

    def _options(self) -> dict[str, Any]:
        if not self._local:
            return {}
        path = f"{spark_home() / 'bin'}{os.pathsep}{self._settings.child_environment().get('PATH', os.defpath)}"
        return {
            "conf": spark_configuration("local"),
            "env_vars": spark_environment(self._settings) | {"PATH": path},
        }


def connected_spark(settings: Settings) -> SparkRunner:
    """The Spark of the connection `spark_default`; without one, Spark on this machine."""
    try:
        connection = BaseHook.get_connection(SPARK_CONNECTION)
    except AirflowNotFoundException:
        return LocalSpark(settings)
    return HookSpark(settings, local=_is_local(connection))


@contextlib.contextmanager
def stage_log(file: Path) -> Iterator[None]:
    """Append what is logged in this process to a file, as the log of a job is, while the context lasts."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


def _is_local(connection: Connection) -> bool:
    return connection.conn_type == "spark" and str(connection.host or "").startswith("local")
