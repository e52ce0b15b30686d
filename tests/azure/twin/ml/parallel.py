"""Parallel jobs: the one step of a pipeline job, whose entry script is run over mini-batches in child processes."""

from __future__ import annotations

import json
import math
import queue
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.azure.twin.ml.jobs import Execution
from tests.azure.twin.ml.runner import Outcome, Work

DRIVER = Path(__file__).with_name("parallel_driver.py")


def refused(properties: dict[str, Any]) -> str | None:
    """What this twin does not run."""
    steps = list((properties.get("jobs") or {}).values())
    if len(steps) != 1 or steps[0].get("type") != "parallel":
        return "the twin runs pipeline jobs of one parallel step only"
    return None


class ParallelExecution(Execution):
    """A pipeline job of one parallel step."""

    def execute(self) -> Outcome:
        step = next(iter(self.properties["jobs"].values()))
        folder = self.plane.folder / "jobs" / self.workspace / f"{self.job}.data"
        files = self._download(
            step["inputs"][step["input_data"].removeprefix("${{inputs.").removesuffix("}}")]["uri"], folder
        )
        size = int(step.get("mini_batch_size") or 1)
        self._batches = [files[i : i + size] for i in range(0, len(files), size)]
        self._rows: dict[int, list[str]] = {}
        self._failed: list[str] = []
        self.step("Running")
        workers = (step.get("max_concurrency_per_instance") or 1) * (
            (step.get("resources") or {}).get("instance_count") or 1
        )
        pending: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(len(self._batches)):
            pending.put(number)
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda rank: self._work(rank, step, pending), range(min(workers, len(self._batches)))))
        return self._judge(step, folder)

    def logs(self) -> dict[str, Any]:
        file = self.plane.folder / "jobs" / self.workspace / f"{self.job}.executionlogs.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        said = [path.read_text(errors="replace") for runner in self.runners for path in runner.logs().values()]
        file.write_text("".join(said))
        return {"logs/azureml/executionlogs.txt": file}

    def _download(self, url: str, folder: Path) -> list[str]:
        """The files of a folder of the storage account, as a mount would show them."""
        container, _, rest = url.partition("://")[2].partition("@")
        prefix = rest.partition("/")[2].rstrip("/") + "/"
        self.plane.blobs.download(container, prefix, folder)
        return sorted(str(file) for file in folder.rglob("*") if file.is_file())

    def _work(self, rank: int, step: dict[str, Any], pending: queue.SimpleQueue[int]) -> None:
        """One batch after the other, each in a process of its own; Azure's workers keep theirs and call init() once."""
        task = step["task"]
        attempts = 1 + ((step.get("retry_settings") or {}).get("max_retries") or 0)
        while not self.cancelled:
            try:
                number = pending.get_nowait()
            except queue.Empty:
                return
            for attempt in range(1, attempts + 1):
                rows = self._run_batch(f"{self.job}_{number}_{attempt}", task, step, self._batches[number])
                if rows is not None:
                    self._rows[number] = rows
                    break
                if self.cancelled:
                    return
            else:
                self._failed.append(str(number))

    def _run_batch(self, name: str, task: dict[str, Any], step: dict[str, Any], files: list[str]) -> list[str] | None:
        answer = self.plane.folder / "jobs" / self.workspace / f"{name}.rows.json"
        request = json.dumps({"files": files, "answer": str(answer)})
        arguments = shlex.split(task.get("program_arguments") or "")
        command = ["python", str(DRIVER), task["entry_script"], request, *arguments]
        runner = self.runner(
            Work(
                workspace=self.workspace,
                name=name,
                command=self.jobs.command(shlex.join(command)),
                code_id=task["code"].removeprefix("azureml:"),
                variables=step.get("environment_variables") or {},
                timeout_seconds=(step.get("retry_settings") or {}).get("timeout"),
            )
        )
        runner.prepare()
        outcome = runner.run()
        return json.loads(answer.read_text()) if outcome.status == "Completed" and answer.exists() else None

    def _judge(self, step: dict[str, Any], folder: Path) -> Outcome:
        if self.cancelled:
            return Outcome("Canceled")
        allowed = step.get("mini_batch_error_threshold")
        if len(self._failed) > (math.inf if allowed in (None, -1) else allowed):
            text = f"The number of failed mini batches ({len(self._failed)}) is over the threshold ({allowed})."
            return Outcome("Failed", "UserError", text)
        rows = [row for number in sorted(self._rows) for row in self._rows[number]]
        folder.with_suffix(".rows").write_text("".join(f"{row}\n" for row in rows))
        return Outcome("Completed")
