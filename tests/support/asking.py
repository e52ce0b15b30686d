"""Airflow's side of a question to people: what it is sent, and what it resumes a task with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk.execution_time.comms import CreateHITLDetailPayload


class Supervisor:
    """Airflow's side of a task: keeps the question that it is sent."""

    def __init__(self) -> None:
        self.asked: list[CreateHITLDetailPayload] = []

    def send(self, msg: Any) -> None:
        assert isinstance(msg, CreateHITLDetailPayload)
        self.asked.append(msg)


def answered(option: str, *, reason: str | None = "the groups look right", timed_out: bool = False) -> dict[str, Any]:
    """What Airflow resumes the task with."""
    return {
        "chosen_options": [option],
        "params_input": {} if reason is None else {"reason": reason},
        "responded_at": datetime(2026, 1, 1, tzinfo=UTC),
        "responded_by_user": None if timed_out else {"id": "anna", "name": "Anna B."},
        "timedout": timed_out,
    }
