"""Write a pipeline folder from a CSV file: columns, types, a suggested suite of expectations, target and gate."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
from pathlib import Path

from rich.console import Console

from noria.errors import InputError
from noria.pipeline import NAME_PATTERN, RESERVED, find_pipelines
from noria.scaffold.columns import ColumnPlan, plan_columns, suggest_target
from noria.scaffold.look import look
from noria.scaffold.suggest import Plan, make_plan
from noria.scaffold.write import write_pipeline
from noria.settings import CHECKOUT, Settings

SCHEMA = CHECKOUT / "include" / "pipelines" / "pipeline.schema.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `noria new`."""
    parser.add_argument("name", metavar="NAME", help="name of the pipeline: a-z, 0-9 and _")
    parser.add_argument("--from", dest="csv", type=Path, required=True, metavar="FILE.csv", help="the data to look at")
    parser.add_argument("--target", metavar="COLUMN", help="what is predicted (asked for if there is a terminal)")
    parser.add_argument("--task", choices=("regression", "classification"), help="default: what the target looks like")
    parser.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        help="folder of pipelines (default: the first of NORIA_PIPELINES, else include/pipelines)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")


def run(args: argparse.Namespace) -> int:
    """Look, suggest, write; the exit code."""
    settings = Settings.from_env()
    into = (args.into or settings.pipelines[min(1, len(settings.pipelines) - 1)]).expanduser().resolve()
    _check_name(args.name, settings, into)
    table = look(args.csv.expanduser().resolve())
    columns = plan_columns(table)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    target = args.target or _ask_target(columns, console)
    plan = make_plan(table, columns, target, args.task)
    schema = os.path.relpath(SCHEMA, into / args.name) if into.is_relative_to(CHECKOUT) else SCHEMA.as_uri()
    folder = write_pipeline(args.name, plan, into, schema)
    known = into in settings.pipelines
    command = f"{'' if known else f'NORIA_PIPELINES={shlex.quote(str(into))} '}noria run {args.name}"
    if args.json:
        print(json.dumps(_result(args.name, folder, plan, command)))  # noqa: T201
    else:
        _tell(console, folder, plan, command)
    return 0


def _check_name(name: str, settings: Settings, into: Path) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise InputError(
            f"name {name!r}", expected="a small letter, then small letters, digits and _, such as my_sales"
        )
    if name in RESERVED:
        raise InputError(f"the name {name!r} is reserved: {RESERVED[name]}", expected="another name")
    taken = find_pipelines([*settings.pipelines, into]).get(name)
    if taken is not None:
        raise InputError(f"there is a pipeline {name!r} in {taken}", expected="a new name")


def _ask_target(columns: tuple[ColumnPlan, ...], console: Console) -> str:
    suggestion = suggest_target(columns)
    if not sys.stdin.isatty():
        raise InputError(
            "no --target was given and there is no terminal to ask on",
            expected=f"one of the columns: {', '.join(c.name for c in columns)}",
            remedy=f"For example --target {suggestion}.",
        )
    for number, column in enumerate(columns, 1):
        console.print(f"{number:4}  {column.name}  ({column.type})", markup=False)
    console.print(f"Which column shall be predicted? [{suggestion}] ", end="", markup=False)
    answer = sys.stdin.readline().strip()
    if answer.isdigit() and 1 <= int(answer) <= len(columns):
        return columns[int(answer) - 1].name
    return answer or suggestion


def _result(name: str, folder: Path, plan: Plan, command: str) -> dict[str, object]:
    return {
        "pipeline": name,
        "folder": str(folder),
        "rows": plan.table.rows,
        "target": plan.target.name,
        "task": plan.task,
        "features": [c.name for c in plan.features],
        "left_out": {c.name: c.left_out for c in plan.left_out},
        "expectations": len(plan.checks),
        "next": command,
    }


def _tell(console: Console, folder: Path, plan: Plan, command: str) -> None:
    console.print(f"{plan.table.path}: {plan.table.rows} rows, {len(plan.columns)} columns", markup=False)
    console.print(f"  {plan.task} of {plan.target.name} from {len(plan.features)} features", markup=False)
    for column in plan.left_out:
        console.print(f"  left out: {column.name}: {column.left_out}", markup=False)
    if plan.too_small:
        console.print(f"  {plan.too_small}: get more rows, or set holdout.share higher", markup=False)
    if plan.table.odd_rows:
        console.print(f"  {plan.table.odd_rows} rows have too many or too few cells and will be quarantined")
    console.print(f"written: {folder}\nnext:    {command}", markup=False)
