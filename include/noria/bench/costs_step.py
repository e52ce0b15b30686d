"""One step of `noria bench costs`, as a process of its own so that its memory is its own."""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from noria.settings import Settings
from noria.workspace import Workspace


def ingest(workspace: Workspace, day: date) -> dict[str, Any]:
    """Take in what was delivered."""
    from noria.costs import focus
    from noria.costs.invoices import ingest as take_in
    from noria.costs.table import open_costs

    done = take_in(workspace)
    for problem in done.refused:
        raise SystemExit(problem)
    table = open_costs(workspace)
    columns = table.columns()
    rows = table.read(date.min, day + timedelta(days=1), [focus.DAY])
    return {"days": len(done.written), "rows": rows.num_rows, "columns": 0 if columns is None else len(columns)}


def report(workspace: Workspace, day: date) -> dict[str, Any]:
    """Write the nightly report."""
    from noria.costs.page.write import write_report

    return {"bytes": len(workspace.lake.read(write_report(workspace, day).html))}


def again(workspace: Workspace, day: date) -> dict[str, Any]:
    """Take in what is there already, and add up the whole year by day and pipeline."""
    from noria.costs import focus
    from noria.costs.sums import COST, CURRENCY, totals
    from noria.costs.table import open_costs

    started = time.monotonic()
    done = ingest(workspace, day)
    until_year = time.monotonic()
    keys = (focus.DAY, focus.PIPELINE, CURRENCY)
    rows = open_costs(workspace).read(day.replace(month=1, day=1), day + timedelta(days=1), (*keys, COST))
    sums = len(totals(rows, keys))
    seconds = {"again_seconds": until_year - started, "year_seconds": time.monotonic() - until_year}
    return {**done, "sums": sums, **{name: round(value, 3) for name, value in seconds.items()}}


STEPS = {step.__name__: step for step in (ingest, report, again)}


def _peak_rss_bytes() -> int:
    """Of this program; what getrusage tells includes the one that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("azure").setLevel(logging.WARNING)
    name, last = sys.argv[1:]
    told = STEPS[name](Workspace.open(Settings.from_env()), date.fromisoformat(last))
    told |= {"peak_rss_bytes": _peak_rss_bytes(), "cpu_seconds": round(time.process_time(), 3)}
    print(json.dumps(told))  # noqa: T201
