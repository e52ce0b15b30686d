"""Sweep jobs: points drawn from the search space that was sent, tried a few at a time, judged by their metric."""

from __future__ import annotations

import itertools
import math
import random
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.azure.twin.ml.jobs import Execution
from tests.azure.twin.ml.runner import Outcome, Work, seconds_of, substitute

LOOK_SECONDS = 0.3
DRAWS = {
    "choice": lambda rng, values: rng.choice(values),
    "randint": lambda rng, upper: rng.randrange(upper),
    "uniform": lambda rng, low, high: rng.uniform(low, high),
    "quniform": lambda rng, low, high, q: round(rng.uniform(low, high) / q) * q,
    "loguniform": lambda rng, low, high: math.exp(rng.uniform(low, high)),
    "qloguniform": lambda rng, low, high, q: round(math.exp(rng.uniform(low, high)) / q) * q,
}
"""As https://learn.microsoft.com/azure/machine-learning/how-to-tune-hyperparameters defines them."""


def refused(properties: dict[str, Any]) -> str | None:
    """What this twin does not run, or Azure ML does not take."""
    space, sampling = properties["searchSpace"], properties["samplingAlgorithm"]["samplingAlgorithmType"]
    if unknown := [kind for kind, _ in space.values() if kind not in DRAWS]:
        return f"the twin draws no {unknown[0]}"
    policy = (properties.get("earlyTermination") or {}).get("policyType")
    if policy not in (None, "Bandit", "MedianStopping"):
        return f"the twin has no policy {policy}"
    if sampling == "Bayesian" and policy:
        return "Early termination is not supported with Bayesian sampling."
    if sampling == "Bayesian" and any(kind not in ("choice", "uniform", "quniform") for kind, _ in space.values()):
        return "Bayesian sampling only supports choice, uniform, and quniform distributions."
    if sampling == "Grid" and any(kind != "choice" for kind, _ in space.values()):
        return "Grid sampling only supports choice."
    return None


def points(properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Points of the search space, in the order in which they are tried."""
    space, sampling = properties["searchSpace"], properties["samplingAlgorithm"]
    if sampling["samplingAlgorithmType"] == "Grid":
        for values in itertools.product(*(arguments[0] for _, arguments in space.values())):
            yield dict(zip(space, values, strict=True))
        return
    rng = random.Random(sampling.get("seed") or 0)
    while True:
        yield {name: DRAWS[kind](rng, *arguments) for name, (kind, arguments) in space.items()}


@dataclass
class Trial:
    """One point.

    Attributes:
        values: The metric as it was logged so far.
    """

    name: str
    point: dict[str, Any]
    run_id: str
    values: list[float] = field(default_factory=list)
    outcome: Outcome = field(default_factory=lambda: Outcome(""))


class SweepExecution(Execution):
    """A sweep job."""

    def execute(self) -> Outcome:
        limits = self.properties.get("limits") or {}
        timer = threading.Timer(seconds_of(limits.get("timeout")) or 1e6, self.cancel)
        timer.daemon = True
        self.trials: list[Trial] = []
        self._parent = self.jobs.mlflow.create_run(self._experiment, self.job, self.properties.get("tags") or {})
        self.step("Running")
        timer.start()
        try:
            with ThreadPoolExecutor(limits.get("maxConcurrentTrials") or 1) as pool:
                drawn = itertools.islice(points(self.properties), limits.get("maxTotalTrials") or 1)
                list(pool.map(self._try, itertools.count(), drawn))
        finally:
            timer.cancel()
        outcome = self._judge()
        self.jobs.mlflow.end_run(self._parent, "FINISHED" if outcome.status == "Completed" else "FAILED")
        return outcome

    def logs(self) -> dict[str, Any]:
        file = self.plane.folder / "jobs" / self.workspace / f"{self.job}.hyperdrive.txt"
        lines = [
            f"{t.name} {t.point} {t.outcome.status or 'Running'} {t.values[-1:]}" for t in getattr(self, "trials", [])
        ]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines))
        return {"azureml-logs/hyperdrive.txt": file}

    @property
    def _experiment(self) -> str:
        return self.properties.get("experimentName") or "Default"

    def _try(self, number: int, point: dict[str, Any]) -> None:
        if self.cancelled:
            return
        mlflow, sent = self.jobs.mlflow, self.properties["trial"]
        name = f"{self.job}_{number}"
        run_id = mlflow.create_run(self._experiment, name, {"mlflow.parentRunId": self._parent})
        trial = Trial(name, point, run_id)
        self.trials.append(trial)
        inputs = {k: v.get("value", v.get("uri")) for k, v in (self.properties.get("inputs") or {}).items()}
        runner = self.runner(
            Work(
                workspace=self.workspace,
                name=name,
                command=self.jobs.command(substitute(sent["command"], {"inputs": inputs, "search_space": point})),
                code_id=sent.get("codeId"),
                variables={
                    **(sent.get("environmentVariables") or {}),
                    **{f"AZUREML_SWEEP_{k}": str(v) for k, v in point.items()},
                },
                timeout_seconds=seconds_of((self.properties.get("limits") or {}).get("trialTimeout")),
                tracking={"MLFLOW_TRACKING_URI": mlflow.url, "MLFLOW_RUN_ID": run_id},
            )
        )
        runner.prepare()
        looked = time.monotonic()

        def look() -> None:
            nonlocal looked
            if time.monotonic() - looked > LOOK_SECONDS:
                self._read(trial)
                looked = time.monotonic()
                if self._is_behind(trial):
                    runner.cancel()

        policy = self.properties.get("earlyTermination")
        trial.outcome = runner.run(look if policy else lambda: None)
        self._read(trial)
        mlflow.end_run(run_id, {"Completed": "FINISHED", "Failed": "FAILED"}.get(trial.outcome.status, "KILLED"))

    def _read(self, trial: Trial) -> None:
        trial.values = self.jobs.mlflow.history(trial.run_id, self.properties["objective"]["primaryMetric"])

    def _is_behind(self, trial: Trial) -> bool:
        """What the policy says, after each value that is logged once its delay is over."""
        policy, count = self.properties["earlyTermination"], len(trial.values)
        if count == 0 or count <= (policy.get("delayEvaluation") or 0):
            return False
        sign = 1 if self.properties["objective"]["goal"].lower() == "maximize" else -1
        mine = max(sign * value for value in trial.values)
        others = [t for t in tuple(self.trials) if t is not trial and t.values]
        if not others:
            return False
        if policy["policyType"] == "MedianStopping":
            return mine < statistics.median(sign * statistics.fmean(t.values[:count]) for t in others)
        best = max(sign * value for t in others for value in t.values)
        slack, amount = policy.get("slackFactor") or 0, policy.get("slackAmount") or 0
        allowed = best - amount if amount else (best / (1 + slack) if best > 0 else best * (1 + slack))
        return mine < allowed

    def _judge(self) -> Outcome:
        if self.cancelled:
            return Outcome("Canceled")
        done = [t for t in self.trials if t.outcome.status == "Completed" and t.values]
        if not done:
            return Outcome("Failed", "UserError", "No child run of the sweep completed with the primary metric.")
        sign = 1 if self.properties["objective"]["goal"].lower() == "maximize" else -1
        best = max(done, key=lambda t: sign * t.values[-1])
        self.facts |= {"best_child_run_id": best.name, "score": str(best.values[-1])}
        return Outcome("Completed")
