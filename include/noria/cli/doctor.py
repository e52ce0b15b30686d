"""Check that this machine, or the services of the profile azure, can run Noria; exit code 0 if nothing fails."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil
from rich.console import Console

from noria.doctor import Finding, examine
from noria.doctor.together import is_waiting
from noria.errors import ExitCode, InputError
from noria.settings import Settings

MOST_SECONDS, LEAST_SECONDS = 13.5, 6.0
"""The answer is there 15 s after the command was given, whatever hangs, where Python starts in less than that."""
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `noria doctor`."""
    parser.add_argument(
        "--profile", choices=("local", "azure"), help="back ends to look at (default: NORIA_PROFILE or local)"
    )
    parser.add_argument("--home", type=Path, metavar="DIR", help="state folder (default: NORIA_HOME or ./var)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")


def run(args: argparse.Namespace) -> int:
    """Examine and tell; the exit code."""
    try:
        chosen = {"NORIA_PROFILE": args.profile} if args.profile else {}
        settings = Settings.from_env({**os.environ, **chosen}, home=args.home)
        spent = time.time() - psutil.Process().create_time()
        findings = examine(settings, max(LEAST_SECONDS, MOST_SECONDS - spent))
    except InputError as error:  # without settings nothing else can be looked at
        findings = [Finding("settings", "fail", str(error), "Mend the variable that is named.")]
    healthy = all(f.status != "fail" for f in findings)
    if args.json:
        print(json.dumps({"healthy": healthy, "checks": [asdict(f) for f in findings]}))  # noqa: T201
    else:
        _tell(findings)
    code = int(ExitCode.OK if healthy else ExitCode.FAILED)
    if is_waiting():  # an orderly end would wait with it
        sys.stdout.flush()
        os._exit(code)
    return code


def _tell(findings: list[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    width = max(len(finding.subject) for finding in findings) + 1
    for finding in findings:
        console.print(f"{finding.status:<5}", style=COLOURS[finding.status], end="")
        remedy = f"  → {finding.remedy}" if finding.remedy else ""
        console.print(f"{finding.subject:<{width}}{finding.detail}{remedy}", markup=False)
