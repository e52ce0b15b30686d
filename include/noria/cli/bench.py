"""Take a measurement that the README quotes."""

from __future__ import annotations

import argparse
import json

from noria import bench
from noria.errors import ExitCode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `noria bench`."""
    names = parser.add_subparsers(dest="bench", required=True, metavar="NAME")
    for name, summary in bench.BENCHES.items():
        command = names.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        command.add_argument("--json", action="store_true", help="print one JSON object on standard output")
        command.add_argument("--quick", action="store_true", help="a smaller measurement, to see that it works")
        bench.module(name).add_arguments(command)


def run(args: argparse.Namespace) -> int:
    """Measure and print; the exit code, which is no success where the measurement itself says so."""
    module = bench.module(args.bench)
    result = module.run(args)
    if args.json:
        print(json.dumps(result))  # noqa: T201
    else:
        _show(args.bench, getattr(module, "in_short", dict)(result))
    succeeded = getattr(module, "succeeded", lambda _: True)
    return int(ExitCode.OK if succeeded(result) else ExitCode.FAILED)


def _show(name: str, result: dict[str, object]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"noria bench {name}")
    table.add_column("what")
    table.add_column("value", justify="right")
    for key, value in result.items():
        table.add_row(key, f"{value:,}" if isinstance(value, int | float) else json.dumps(value))
    Console().print(table)
