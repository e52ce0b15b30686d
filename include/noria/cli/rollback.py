"""Bring a former champion back: the one before, or a version that was in production and still loads and scores today.

Your name is what the operating system says (LOGNAME): nothing checks it here; only Airflow's UI asks people to sign in.

Exit code: 0 it is the champion again, 2 bad input or usage, 1 anything else.
"""

from __future__ import annotations

import argparse

from rich.console import Console

from noria.cli.hand import add_home_and_json, at_work, stated, user
from noria.cli.runs import known_pipeline
from noria.errors import ExitCode
from noria.settings import Settings
from noria.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `noria rollback`."""
    parser.add_argument("name", metavar="NAME", help="the pipeline")
    parser.add_argument("--to", metavar="VERSION", help="the version (default: the champion before this one)")
    parser.add_argument("--reason", metavar="TEXT", help="why; needed, and kept for ever")
    add_home_and_json(parser)


def run(args: argparse.Namespace) -> int:
    """Roll back and print what was done; the exit code."""
    reason = stated(args.reason)
    workspace = Workspace.open(Settings.from_env(home=args.home))
    known_pipeline(workspace, args.name)
    from noria.stages.rollback import rollback

    with at_work(Console(stderr=True), "scoring …"):
        done = rollback(args.name, workspace, to=args.to, by=user(), reason=reason)
    if args.json:
        print(done.model_dump_json())  # noqa: T201
        return int(ExitCode.OK)
    scored = ", ".join(f"{metric} {value:.4g}" for metric, value in done.metrics.items())
    print(f"version {done.version} of {done.pipeline} is the champion again, in place of version {done.before}")  # noqa: T201
    print(f"it scores {scored} on the holdout of run {done.run_id}")  # noqa: T201
    print(f"by {done.by}: {done.reason}")  # noqa: T201
    if done.champion_version != done.version:
        print(f"meanwhile version {done.champion_version} has become the champion")  # noqa: T201
    return int(ExitCode.OK)
