from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.synapse.spark.models import (
    SparkBatchJob,
    SparkBatchJobState,
    SparkRequest,
    SparkScheduler,
    SparkServicePlugin,
)

from noria.compute.synapse_use import use_of

NOON = datetime(2026, 2, 10, 12, tzinfo=UTC)


def batch(seen: dict[str, int], ended: int | None = None, given: int | None = None, **request: Any) -> SparkBatchJob:
    """A batch whose states were seen so many seconds after noon, and which asked for this."""

    def at(seconds: int | None) -> datetime | None:
        return None if seconds is None else NOON + timedelta(seconds=seconds)

    asked = SparkRequest(**request) if request else None
    times = {name: at(seconds) for name, seconds in seen.items()}
    return SparkBatchJob(
        id=1,
        livy_info=SparkBatchJobState(current_state="success", job_creation_request=asked, **times),
        scheduler=SparkScheduler(current_state="Ended", ended_at=at(ended)),
        plugin=SparkServicePlugin(current_state="Ended", submission_started_at=at(given)),
    )


@pytest.mark.parametrize(
    ("found", "vcpu_seconds"),
    [
        (batch({"starting_at": 0, "running_at": 30, "success_at": 90}), 60 * 12),
        (batch({"running_at": 30, "dead_at": 40}), 10 * 12),
        (batch({"running_at": 30, "terminated_at": 90}, ended=100), 70 * 12),
        (batch({"running_at": 30, "success_at": 90}, given=20), 70 * 12),
        (batch({"running_at": 0, "success_at": 10}, driver_cores=8, executor_cores=8, executor_count=3), 10 * 32),
    ],
)
def test_vcores_count_from_when_they_were_given_until_the_end(found: SparkBatchJob, vcpu_seconds: float) -> None:
    used = use_of(found, 12)
    assert used is not None
    assert (used.usage.vcpu_seconds, used.usage.machine, used.usage.cpu_seconds) == (vcpu_seconds, "synapse", 0)


@pytest.mark.parametrize("seen", [{"starting_at": 0, "terminated_at": 60}, {"running_at": 30}, {}])
def test_a_batch_that_never_ran_or_still_runs_has_used_nothing_that_is_known(seen: dict[str, int]) -> None:
    assert use_of(batch(seen), 12) is None
