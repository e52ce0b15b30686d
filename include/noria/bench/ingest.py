"""Ingest of a generated CSV file: wall seconds and peak memory, beside `cp` and `sha256sum` of the same file."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from noria.bench.disk import check_disk
from noria.compute.process import JobProcess
from noria.errors import InputError
from noria.lake import scratch
from noria.pipeline import SampleSource
from noria.settings import Settings
from noria.sources import open_source
from noria.workspace import Workspace

_PIPELINE = "students"
_ROW_BYTES = 65.7
"""Of the students sample, on average."""
_SMALL_BYTES = 1_000_000
_DEFAULT_GB, _QUICK_GB = 0.256, 0.032
_DISK_FACTOR = 3.5
"""The file, its copy by cp, the lake's copy, and the typed table."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `noria bench ingest`."""
    parser.add_argument(
        "--gb", type=float, metavar="N", help=f"size of the file in 10^9 bytes (default: {_DEFAULT_GB})"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure.

    Raises:
        InputError: The size is not positive, or cp or sha256sum is missing.
        StorageError: There is not enough disk for it.
    """
    gigabytes = args.gb if args.gb is not None else _QUICK_GB if args.quick else _DEFAULT_GB
    if not gigabytes > 0:
        raise InputError(f"--gb {gigabytes}", expected="a size greater than 0")
    for tool in ("cp", "sha256sum"):
        if shutil.which(tool) is None:
            raise InputError(f"no program {tool!r} on PATH", expected="GNU coreutils")
    home = Settings.from_env().home
    with scratch(home / "tmp") as folder:
        check_disk(folder, int(gigabytes * 1e9 * _DISK_FACTOR), "--gb")
        large = _generate(folder / "large.csv", gigabytes * 1e9)
        copied = _copy_and_hash_seconds(large, folder / "copy.csv")
        seconds, usage = _ingest(large, folder / "large")
        small = _generate(folder / "small.csv", _SMALL_BYTES)
        small_seconds, small_usage = _ingest(small, folder / "small")
        size = large.stat().st_size
        return {
            "bytes": size,
            "seconds": round(seconds, 3),
            "stage_seconds": usage["wall_seconds"],
            "copy_and_hash_seconds": round(copied, 3),
            "ratio": round(seconds / copied, 2),
            "bytes_per_second": round(size / seconds),
            "peak_rss_bytes": usage["peak_rss_bytes"],
            "small_bytes": small.stat().st_size,
            "small_seconds": round(small_seconds, 3),
            "small_peak_rss_bytes": small_usage["peak_rss_bytes"],
        }


def _generate(path: Path, size: float) -> Path:
    rows = max(1, round(size / _ROW_BYTES))
    _tell(f"generating {rows:,} rows")
    open_source(SampleSource(rows=rows), Settings.from_env()).fetch(path)
    return path


def _copy_and_hash_seconds(file: Path, copy: Path) -> float:
    _tell("cp and sha256sum")
    started = time.monotonic()
    subprocess.run(["cp", str(file), str(copy)], check=True)
    subprocess.run(["sha256sum", str(copy)], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    copy.unlink()
    return seconds


def _ingest(file: Path, home: Path) -> tuple[float, dict[str, Any]]:
    """Seconds of the whole child process, its start included, and what the stage used."""
    settings = Settings.from_env({}, home=home)
    workspace = Workspace.open(settings)
    run = workspace.create_run(_PIPELINE, source=file.as_uri())
    started = time.monotonic()
    JobProcess("ingest", run, settings, on_line=_tell).run()
    seconds = time.monotonic() - started
    envelope = workspace.stage_run(run, "ingest")
    assert envelope is not None  # noqa: S101  the job has just said so
    return seconds, envelope.usage.model_dump()


def _tell(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201
