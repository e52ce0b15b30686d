"""Airflow for tests that run in this process: a home of its own, set before anything imports Airflow."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def isolate() -> None:
    """Give Airflow a throw-away home; does nothing the second time."""
    if "airflow" in sys.modules or "NORIA_TEST_AIRFLOW" in os.environ:
        return
    home = tempfile.mkdtemp(prefix="noria-airflow-")
    atexit.register(_remove, home, os.getpid())
    os.environ |= {
        "NORIA_TEST_AIRFLOW": home,
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of the tests, as long as the algorithm wants it to be: 64 bytes",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "reader:viewer",
    }


def _remove(home: str, maker: int) -> None:
    if os.getpid() == maker:  # a process forked from it must not
        shutil.rmtree(home, ignore_errors=True)


isolate()
