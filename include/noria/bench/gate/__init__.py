"""The promotion gate under attack, its luck by simulation, sixty days of it, and what a decision costs.

`attacks` holds what is tried and how, `luck` and `days` what is simulated, `cost` a large decision, `charts` the
pictures of docs/gate.md.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noria.lake import scratch
from noria.settings import Settings

if TYPE_CHECKING:
    from noria.bench.gate.luck import Plan

_EVERYTHING = ("attacks", "luck", "days", "cost")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `noria bench gate`."""
    parser.add_argument("--only", choices=_EVERYTHING, action="append", help="measure this alone (may be repeated)")
    parser.add_argument("--charts", type=Path, metavar="DIR", help="draw the simulations as SVG into this folder")


def run(args: argparse.Namespace, plan: Plan | None = None) -> dict[str, Any]:
    """Attack, simulate and measure; another plan than `--quick` chooses may be given."""
    from noria.bench.gate import charts, cost, days, luck

    wanted = args.only or _EVERYTHING
    plan = plan or (luck.QUICK if args.quick else luck.FULL)
    result: dict[str, Any] = {}
    if "cost" in wanted:  # first, while nothing else runs
        result |= cost.cost()
        _tell("a decision over {rows:,} rows: {0:.2f} s, {1:.0f} MB".format(
            result["decide_seconds"], result["peak_rss_bytes"] / 1e6, rows=cost.ROWS))  # fmt: skip
    with _pool() as executor, scratch(Settings.from_env().home / "tmp") as folder:
        attacks = executor.submit(_attack_all, folder) if "attacks" in wanted else None
        pool = luck.Pool(executor)
        if "luck" in wanted:
            result |= luck.characteristics(plan, pool, _tell)
        if "days" in wanted:
            result["days"] = days.sixty_days(plan.worlds, pool, _tell)
        if attacks is not None:
            result["attacks"] = attacks.result()
    if args.charts:
        charts.write_charts(result, args.charts)
    return result


def succeeded(result: dict[str, Any]) -> bool:
    """Whether every attack was refused for its own reason."""
    return all(attack["refused"] for attack in result.get("attacks", ()))


def in_short(result: dict[str, Any]) -> dict[str, Any]:
    """The figures without the tables, and the attacks by their number."""
    short = {key: value for key, value in result.items() if isinstance(value, str | int | float)}
    if attacks := result.get("attacks"):
        short["attacks refused"] = f"{sum(attack['refused'] for attack in attacks)} of {len(attacks)}"
    for kind in ("steady", "mishaps"):
        for name, told in result.get("days", {}).get(kind, {}).items():
            short[f"sixty days, {kind}, {name}"] = (
                f"{told['champion_changes']['mean']:.1f} changes, regret {told['regret']['mean']:.3f}"
            )
    return short


def _attack_all(folder: Path) -> list[dict[str, Any]]:
    from noria.bench.gate.attacks import attack_all

    return attack_all(folder, tell=_tell)


def _pool() -> Executor:
    """A worker for each processor that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(usable, mp_context=context, initializer=_prepare)


def _prepare() -> None:
    """One thread a process, since the processes are the parallelism; and a word only for what is wrong."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from noria.bench.gate import attacks  # noqa: F401  only libraries that are loaded can be told

    logging.disable(logging.WARNING)
    threadpool_limits(1)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
