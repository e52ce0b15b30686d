"""A rollback as a process; the same key again completes what a killed one began. See `noria.jobs.runner`."""

from __future__ import annotations

import argparse

from noria.jobs.runner import serve
from noria.stages.rollback import rollback, rollback_path
from noria.workspace import Workspace


def work(args: argparse.Namespace, workspace: Workspace) -> str:
    """Roll back; the record's lake path."""
    done = rollback(args.pipeline, workspace, to=args.to or None, by=args.by, reason=args.reason, key=args.key)
    return rollback_path(done.pipeline, args.key)


def main() -> None:
    """Parse the arguments and roll back."""
    parser = argparse.ArgumentParser(prog="python -m noria.jobs.rollback", description="Bring a former champion back.")
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--key", required=True, help="names this rollback; a retry gives the same")
    parser.add_argument("--to", default="", metavar="VERSION", help="default: the champion before this one")
    parser.add_argument("--by", required=True, help="who asks for it")
    parser.add_argument("--reason", required=True)
    serve("rollback", parser, work)


if __name__ == "__main__":
    main()
