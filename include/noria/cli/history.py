"""Tell which model was champion when, and why: every decision about a pipeline, from the ledger.

Exit code: 0, 2 bad input or usage, 1 if an entry was changed, forged or taken out, or anything else is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from noria.cli.hand import add_home_and_json
from noria.cli.runs import known_pipeline
from noria.errors import ExitCode, InputError
from noria.records import LedgerEntry
from noria.settings import Settings
from noria.workspace import Workspace

PIPED_WIDTH = 160
"""Columns of the table where there is no terminal that has a width."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `noria history`."""
    parser.add_argument("name", metavar="NAME", help="the pipeline")
    parser.add_argument(
        "--at",
        metavar="TIME",
        help="only who was champion at a moment, such as 2026-11-21T10:30 (UTC, unless it says otherwise)",
    )
    add_home_and_json(parser)


def run(args: argparse.Namespace) -> int:
    """Read the ledger and tell; the exit code."""
    at = _moment(args.at) if args.at is not None else None
    workspace = Workspace.open(Settings.from_env(home=args.home))
    known_pipeline(workspace, args.name)
    ledger = workspace.ledger(args.name)
    findings = ledger.audit()
    if at is not None:
        _tell_champion(args.name, at, ledger.champion_at(at), findings, as_json=args.json)
    else:
        _tell_all(args.name, ledger.entries(), findings, as_json=args.json)
    for finding in findings:
        print(f"noria history: {finding}", file=sys.stderr)  # noqa: T201
    return int(ExitCode.FAILED if findings else ExitCode.OK)


def _tell_champion(name: str, at: datetime, entry: LedgerEntry | None, findings: list[str], *, as_json: bool) -> None:
    if as_json:
        champion = _facts(entry) if entry else None
        print(json.dumps({"pipeline": name, "at": at.isoformat(), "champion": champion, "findings": findings}))  # noqa: T201
    elif entry is None:
        print(f"{name} had no champion at {_shown(at)}")  # noqa: T201
    else:
        print(f"version {entry.champion_after} was the champion of {name} at {_shown(at)}")  # noqa: T201
        print(f"since:   {_shown(entry.at)} ({_event(entry)}, run {entry.run_id}, by {entry.by})")  # noqa: T201
        print(f"before:  {f'version {entry.champion_before}' if entry.champion_before else 'none'}")  # noqa: T201
        print(f"model:   SHA-256 {entry.model_sha256}")  # noqa: T201
        print(f"why:     {'; '.join(entry.reasons)}")  # noqa: T201


def _tell_all(name: str, entries: Sequence[LedgerEntry], findings: list[str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"pipeline": name, "entries": [_facts(e) for e in entries], "findings": findings}))  # noqa: T201
        return
    if not entries:
        print(f"nothing was decided about {name} yet")  # noqa: T201
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("date (UTC)", "what", "version", "champion", "by", "why"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        change = entry.champion_after or "none"
        if entry.champion_after != entry.champion_before:
            change = f"{entry.champion_before or 'none'} → {change}"
        cells = (f"{entry.at:%Y-%m-%d %H:%M}", _event(entry), entry.version or "", change, entry.by)
        table.add_row(*cells, "; ".join(entry.reasons))
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    Console(markup=False, highlight=False, width=width).print(table)


def _event(entry: LedgerEntry) -> str:
    return "FORCED" if entry.event == "forced" else entry.event.replace("_", " ")


def _facts(entry: LedgerEntry) -> dict[str, Any]:
    return entry.model_dump(mode="json")


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"--at {text}", expected="a time such as 2026-11-21, 2026-11-21T10:30 or …+01:00") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
