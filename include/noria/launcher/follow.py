"""Following one run: lines of progress as its tasks change state, until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from noria.launcher.api import AirflowApi, ApiUnavailableError, answer_page

POLL_SECONDS = 1.0
ENDED = ("success", "failed")
MARKS = {
    "success": "✓",
    "failed": "✗",
    "up_for_retry": "↻",
    "upstream_failed": "-",
    "skipped": "-",
    "running": "▸",
    "deferred": "☾",
    "awaiting_input": "?",
}


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        state: success or failed.
        seconds: From its start to its end.
        failed_tasks: Those that failed themselves.
    """

    state: str
    seconds: float
    failed_tasks: list[str] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether the run and all its tasks did well; a failed report leaves Airflow's run a success."""
        return self.state == "success" and not self.failed_tasks


def follow(
    api: AirflowApi, dag_id: str, run_id: str, *, check: Callable[[], None], tell: Callable[[str], None]
) -> Outcome:
    """Wait for the run's end.

    Args:
        api: Where the run is.
        dag_id: Its DAG.
        run_id: The run.
        check: Called at every poll; raises when waiting has become pointless.
        tell: Called with each line.
    """
    seen: dict[str, tuple[str | None, int]] = {}
    waiting_told = False
    while True:
        check()
        try:
            run = api.run(dag_id, run_id)
            tasks = api.tasks(dag_id, run_id)
            others = api.unfinished_runs(dag_id) if run["state"] == "queued" and not waiting_told else []
        except ApiUnavailableError:  # busy; a server that is gone for good is what `check` sees
            time.sleep(POLL_SECONDS)
            continue
        ahead = [o["dag_run_id"] for o in others if o["state"] == "running" and o["dag_run_id"] != run_id]
        if ahead:
            tell(f"waiting for {ahead[0]}, which runs now; runs of one pipeline do not overlap")
            waiting_told = True
        for task in sorted(tasks, key=lambda t: t["start_date"] or "~"):
            state = (task["state"], task["try_number"])
            if seen.get(task["task_id"]) != state:
                seen[task["task_id"]] = state
                if line := _line(task, api.url):
                    tell(line)
        if run["state"] in ENDED:
            return Outcome(
                state=run["state"],
                seconds=_seconds(run["start_date"], run["end_date"]),
                failed_tasks=[t["task_id"] for t in tasks if t["state"] == "failed"],
            )
        time.sleep(POLL_SECONDS)


def _line(task: dict[str, Any], url: str) -> str:
    state = task["state"]
    if state not in MARKS:
        return ""
    if state == "running":
        again = f" (try {task['try_number']})" if task["try_number"] > 1 else ""
        return f"{MARKS[state]} {task['task_id']:<10} running{again}"
    if state == "deferred":
        return f"{MARKS[state]} {task['task_id']:<10} sleeps while its job runs elsewhere"
    if state == "awaiting_input":
        return f"{MARKS[state]} {task['task_id']:<10} waits for a person's answer: {answer_page(url, task)}"
    seconds = f"{_seconds(task['start_date'], task['end_date']):6.1f} s" if task["start_date"] else " " * 8
    note = "" if state == "success" else f"  {state.replace('_', ' ')}"
    return f"{MARKS[state]} {task['task_id']:<10}{seconds}{note}"


def _seconds(start: str | None, end: str | None) -> float:
    if start is None:
        return 0.0
    ended = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return (ended - datetime.fromisoformat(start)).total_seconds()
