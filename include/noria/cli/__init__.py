"""`noria`: the command line. One module a command, each with `add_arguments(parser)` and `run(args) -> exit code`.

Commands parse, call the library and print; with `--json` one object goes to standard output and nothing else does.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from noria.errors import ExitCode, NoriaError, StorageError

COMMANDS = {
    "up": "start Airflow here, retrain a pipeline and follow the run",
    "run": "run a pipeline without Airflow",
    "promote": "judge a candidate again, answer for one that waits, or force it",
    "rollback": "bring a former champion back",
    "costs": "tell what runs, pipelines and stages cost",
    "history": "tell which model was champion when, and why",
    "doctor": "check that this machine, or Azure, can run Noria",
    "inbox": "list or show the mails that `noria up` has kept",
    "bench": "take a measurement that the README quotes",
    "new": "write a pipeline folder from a CSV file",
}


def build_parser() -> argparse.ArgumentParser:
    """The arguments of `noria` with those of every command."""
    parser = argparse.ArgumentParser(
        prog="noria", description="Retrain, judge, promote and score models every day.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        module = importlib.import_module(f"noria.cli.{name}")
        command = commands.add_parser(name, help=summary, description=module.__doc__, allow_abbrev=False)
        module.add_arguments(command)
        command.set_defaults(function=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Entry point of `noria`; the exit code."""
    args = build_parser().parse_args(argv)
    try:
        return _run(args)
    except NoriaError as error:
        print(f"noria {args.command}: {error}", file=sys.stderr)  # noqa: T201
        return int(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return int(ExitCode.FAILED)


def _run(args: argparse.Namespace) -> int:
    try:
        return int(args.function(args))
    except OSError as error:
        if error.filename is None:  # not about a file, so not for the reader to mend
            raise
        raise StorageError(
            f"cannot use {error.filename}: {error.strerror}",
            remedy="Free some space, mend the permissions, or choose another place with --home or NORIA_HOME.",
        ) from error
