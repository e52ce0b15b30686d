"""MLflow's schema, looked up once: it reads all its migrations whenever a database is opened, which tests do often."""

from __future__ import annotations

import functools


def remember_newest_schema() -> None:
    """Have MLflow keep the name of its newest schema; every database is still compared with it."""
    from mlflow.store.db import utils

    if not hasattr(utils._get_latest_schema_revision, "cache_info"):
        utils._get_latest_schema_revision = functools.cache(utils._get_latest_schema_revision)
