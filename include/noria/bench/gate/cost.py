"""What a decision costs: time and memory of `gate.decide` for a large holdout, in a process of its own.

The peak is that of the whole process: Python, NumPy, pandas and scikit-learn as far as they are loaded, the rows, both
models' predictions, and the bootstrap. Nothing is subtracted.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from noria.errors import JobError

ROWS, DRAWS = 100_000, 2_000
_ONE_THREAD = "os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1')"
CASES = {
    "regression": ("r2", "mae", "rmse", "rae", "rse"),
    "classification": ("accuracy", "balanced_accuracy", "roc_auc", "f1", "log_loss"),
}


def cost() -> dict[str, Any]:
    """Seconds and peak memory: the dearer of a regression and a classification with all metrics each.

    Raises:
        JobError: A measurement failed.
    """
    found = {task: in_a_child(task) for task in CASES}
    return {
        "decide_seconds": max(one["seconds"] for one in found.values()),
        "peak_rss_bytes": max(one["peak_rss_bytes"] for one in found.values()),
        "decide": {"rows": ROWS, "models": 2, "draws": DRAWS, **found},
    }


def in_a_child(task: str) -> dict[str, Any]:
    """Seconds and peak memory of one decision in a process of its own, on one processor."""
    alone = [sys.executable, "-c", f"import os; {_ONE_THREAD}; from {__name__} import tell; tell({task!r})"]
    ended = subprocess.run(alone, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise JobError(f"measuring a decision over {ROWS:,} rows failed: {ended.stderr.strip()[-500:]}")
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


def measure(task: str) -> dict[str, Any]:
    """Decide once, in this process."""
    from noria.bench.gate.evidence import Question, classification, regression
    from noria.bench.gate.luck import Setting, draw
    from noria.pipeline import Gate

    metrics = CASES[task]
    target, (theirs, ours) = draw(Setting(metrics[0], ROWS), (1,))
    problem = (regression if task == "regression" else classification)(*metrics)
    question = Question(problem, target, ours, theirs, Gate(draws=DRAWS))
    started, worked = time.perf_counter(), time.process_time()
    verdict = question.decide().verdict
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - worked,
        "peak_rss_bytes": _peak(),
        "verdict": verdict,
        "metrics": list(metrics),
    }


def _peak() -> int:
    """Most memory that this process ever held; Linux's `getrusage` counts what it was forked from as well."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def tell(task: str) -> None:
    """The measurement as JSON on standard output."""
    print(json.dumps(measure(task)))  # noqa: T201
