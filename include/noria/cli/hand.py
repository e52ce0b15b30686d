"""What commands share by which a person acts: who it is, why, and what is shown of it."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from noria.errors import InputError
from noria.records import Run
from noria.workspace import Workspace


def add_home_and_json(parser: argparse.ArgumentParser) -> None:
    """`--home` and `--json`."""
    parser.add_argument("--home", type=Path, metavar="DIR", help="state folder (default: NORIA_HOME or ./var)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")


def user() -> str:
    """The operating system's name of whoever acts.

    Raises:
        InputError: It has none.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise InputError(
            f"the operating system has no name for user {os.getuid()}",
            expected="a name to keep beside the reason",
            remedy="Give one with LOGNAME=you.",
        ) from None


def stated(reason: str | None) -> str:
    """The reason that was given, on one line.

    Raises:
        InputError: None was, or an empty one.
    """
    words = "".join(c if c.isprintable() else " " for c in reason or "").split()
    if not words:
        raise InputError(
            "no reason was given" if reason is None else "the reason is empty",
            expected="--reason TEXT",
            remedy="It is kept with your name in the registry and the ledger.",
        )
    return " ".join(words)


@contextlib.contextmanager
def at_work(console: Console, what: str) -> Iterator[None]:
    """Show that something goes on, and what Noria warns of meanwhile; the rest of its log says what the card says."""
    log, handler = logging.getLogger("noria"), logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    log.addHandler(handler)
    try:
        with console.status(what):
            yield
    finally:
        log.removeHandler(handler)


def rewrite_report(run: Run, workspace: Workspace, console: Console) -> str | None:
    """Write the run's page anew, since its decision is another one now; where it is, or none if that fails."""
    from noria.stages.report import report

    try:
        return workspace.lake.url(report(run, workspace).html)
    except Exception as error:  # what was done is done, and has to be told
        console.print(f"the report could not be written anew: {type(error).__name__}: {error}", markup=False)
        return None
