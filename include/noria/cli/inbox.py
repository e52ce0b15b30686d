"""List the mails that `make run` has kept, or show one."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from noria.errors import ExitCode, InputError
from noria.mailbox import inbox
from noria.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `noria inbox`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("number", nargs="?", type=int, metavar="N", help="show mail number N of the list")
    which.add_argument("--last", action="store_true", help="show the newest mail")
    parser.add_argument("--home", type=Path, metavar="DIR", help="state folder (default: NORIA_HOME or ./var)")
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")


def run(args: argparse.Namespace) -> int:
    """List or show; the exit code."""
    home = Settings.from_env(home=args.home).home
    mails = inbox.read(home)
    if args.number is not None or args.last:
        _show(_pick(mails, args.number), as_json=args.json)
    elif args.json:
        print(json.dumps({"mails": [_facts(m) for m in mails]}))  # noqa: T201
    else:
        _list(mails, home)
    return int(ExitCode.OK)


def _pick(mails: list[inbox.Mail], number: int | None) -> inbox.Mail:
    if not mails:
        raise InputError("the inbox is empty", remedy="Mails come when a run fails or a verdict is news.")
    if number is None:
        return mails[-1]
    if not 1 <= number <= len(mails):
        raise InputError(f"mail {number}", expected=f"a number from 1 to {len(mails)}")
    return mails[number - 1]


def _show(mail: inbox.Mail, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**_facts(mail), "text": mail.text}))  # noqa: T201
        return
    print(f"Date:    {mail.received_at:%Y-%m-%d %H:%M:%S} UTC")  # noqa: T201
    print(f"To:      {mail.to}\nSubject: {mail.subject}\nFile:    {mail.path}\n\n{mail.text}")  # noqa: T201


def _list(mails: list[inbox.Mail], home: Path) -> None:
    if not mails:
        print(f"no mails in {inbox.folder(home)}")  # noqa: T201
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("N", "date (UTC)", "to", "subject"):
        table.add_column(heading, overflow="fold")
    for mail in mails:
        table.add_row(str(mail.number), f"{mail.received_at:%Y-%m-%d %H:%M}", mail.to, mail.subject)
    Console(markup=False, highlight=False).print(table)


def _facts(mail: inbox.Mail) -> dict[str, Any]:
    return {
        "number": mail.number,
        "received_at": mail.received_at.isoformat(),
        "to": mail.to,
        "subject": mail.subject,
        "path": str(mail.path),
    }
