"""A year of invoices: taken into the table of costs, and the cost report made of it, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from noria.bench.costs_invoices import Month, deliver
from noria.bench.disk import check_disk
from noria.errors import InputError, JobError
from noria.lake import scratch
from noria.settings import Settings

_YEAR = 2025
_ROWS, _QUICK_ROWS = 5_000_000, 120_000
_ROW_BYTES = 400
"""On disk: as it is delivered, in the table, and while it is written."""
_SEED = 20250101


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `noria bench costs`."""
    parser.add_argument("--rows", type=int, metavar="N", help=f"charges of the year (default: {_ROWS:,})")
    parser.add_argument("--doubles", action="store_true", help="amounts are delivered as doubles, not as decimals")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure.

    Raises:
        InputError: There is less than one row a month.
        JobError: A step failed.
        StorageError: There is not enough disk for it.
    """
    rows = args.rows if args.rows is not None else _QUICK_ROWS if args.quick else _ROWS
    if rows < 12:
        raise InputError(f"--rows {rows}", expected="12 or more, one a month")
    with scratch(Settings.from_env().home / "tmp") as folder:
        check_disk(folder, rows * _ROW_BYTES, "--rows")
        delivered = _generate(folder / "lake" / "exports" / "costs", rows, args.doubles)
        ingested = _step("ingest", folder)
        report = _step("report", folder)
        again = _step("again", folder)
        if not rows == ingested["rows"] == again["rows"] or again["days"]:
            raise JobError(
                f"{ingested['rows']} rows were taken in, and {again['days']} days again", expected=f"{rows}, 0"
            )
        return {
            "rows": rows,
            "months": 12,
            "columns": ingested["columns"],
            "delivered_bytes": delivered,
            "table_bytes": sum(file.stat().st_size for file in (folder / "lake" / "costs").rglob("*.parquet")),
            "ingest_seconds": ingested["seconds"],
            "again_seconds": again["again_seconds"],
            "report_seconds": report["seconds"],
            "year_seconds": again["year_seconds"],
            "peak_rss_bytes": max(step["peak_rss_bytes"] for step in (ingested, report, again)),
            "ingest_peak_rss_bytes": ingested["peak_rss_bytes"],
            "report_peak_rss_bytes": report["peak_rss_bytes"],
            "ingest_cpu_seconds": ingested["cpu_seconds"],
        }


def _generate(root: Path, rows: int, doubles: bool) -> int:
    """A delivery for each month; how many bytes they have."""
    for number in range(12):
        first = date(_YEAR, number + 1, 1)
        count = rows * (number + 1) // 12 - rows * number // 12
        month = Month(first, count, seed=_SEED, doubles=doubles)
        deliver(root, month, datetime.combine(month.last + timedelta(days=3), datetime.min.time(), UTC))
        _tell(f"{first:%B}: {count:,} charges generated")
    return sum(file.stat().st_size for file in root.rglob("*.parquet"))


def _step(name: str, home: Path) -> dict[str, Any]:
    """Seconds of the whole process, its start included, and what it says of itself."""
    _tell(f"{name} ...")
    started = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-m", "noria.bench.costs_step", name, f"{_YEAR}-12-31"],
        env={**os.environ, "NORIA_HOME": str(home), "NORIA_LAKE_URL": "", "NORIA_PROFILE": "local"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    if process.returncode:
        raise JobError(f"the step {name} ended with {process.returncode}", remedy="What it wrote above says why.")
    told: dict[str, Any] = json.loads(process.stdout)
    return {**told, "seconds": round(seconds, 3)}


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
