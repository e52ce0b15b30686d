"""The platform's own record of a job: the MLflow run that Azure ML keeps for it, shown in Studio beside its log."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping

from noria.azure.redact import without_secrets
from noria.settings import TrackedRun

log = logging.getLogger(__name__)
_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""Seconds for an answer, and retries; MLflow's own (120 and 7) let a silent server hold a job for a quarter hour."""
_LONGEST_PARAMETER = 500  # Azure ML cuts no longer one, but refuses it


def track(
    run: TrackedRun | None,
    metrics: Mapping[str, float],
    params: Mapping[str, object] | None = None,
    *,
    step: int = 0,
) -> None:
    """Log figures to the platform's run of this job, where it keeps one.

    They are shown, not used: the record in the lake counts. So a platform that does not take them is no reason to fail.

    Args:
        run: The platform's run, or none.
        metrics: Name -> value; what is not finite is left out.
        params: Name -> value.
        step: Which of several values of the same metrics.
    """
    if run is None:
        return
    try:
        for name, most in _LIMITS.items():
            os.environ.setdefault(name, most)  # MLflow reads them at each request
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        now = round(time.time() * 1000)
        MlflowClient(run.tracking_url).log_batch(
            run.run_id,
            metrics=[Metric(k, float(v), now, step) for k, v in metrics.items() if math.isfinite(v)],
            params=[Param(k, str(v)[:_LONGEST_PARAMETER]) for k, v in (params or {}).items()],
        )
    except Exception as error:
        said = without_secrets(str(error))
        log.warning("the figures could not be logged to the platform's run: %s", said)
