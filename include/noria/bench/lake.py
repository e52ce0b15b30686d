"""Throughput of the lake on ADLS Gen2 beside adlfs alone, with the same bytes, in turns."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noria.azure import LAKE, AzureConnection
from noria.errors import InputError
from noria.lake import scratch
from noria.lake.abfs.client import AsyncCredential
from noria.lake.abfs.url import AbfsUrl
from noria.settings import Settings
from noria.workspace import Workspace

if TYPE_CHECKING:
    from adlfs import AzureBlobFileSystem

_MB, _QUICK_MB = 128, 8
_REPEATS, _QUICK_REPEATS = 5, 2
_HELP = """\
It measures the lake at NORIA_LAKE_URL with the connection adls_default, in a folder bench/ that it removes again.

keys of --json:
  bytes, repeats                size of the file, and how often each is measured
  lake_put_bytes_per_second     {mean, sd} of the lake's `put`
  adlfs_put_bytes_per_second    {mean, sd} of adlfs' `put_file` as it comes
  put_ratio                     the first mean over the second: above 1 the lake is faster
  lake_local_bytes_per_second, adlfs_get_bytes_per_second, local_ratio
                                likewise for the lake's `local` and adlfs' `get_file`
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `noria bench lake`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HELP
    parser.add_argument("--mb", type=int, metavar="N", help=f"size of the file in 10^6 bytes (default: {_MB})")
    parser.add_argument("--repeats", type=int, metavar="N", help=f"how often (default: {_REPEATS}; at least 2)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure.

    Raises:
        InputError: The lake is not on ADLS Gen2, or a number is too small.
        StorageError: The lake refused.
    """
    megabytes = args.mb if args.mb is not None else _QUICK_MB if args.quick else _MB
    repeats = args.repeats if args.repeats is not None else _QUICK_REPEATS if args.quick else _REPEATS
    if megabytes < 1 or repeats < 2:
        raise InputError(f"--mb {megabytes} --repeats {repeats}", expected="at least 1 MB, and 2 repeats for a spread")
    settings = Settings.from_env()
    if not settings.lake_url.startswith(("abfs://", "abfss://")):
        raise InputError(f"the lake {settings.lake_url}", expected="NORIA_LAKE_URL=abfss://CONTAINER@HOST[/FOLDER]")
    workspace = Workspace.open(settings)
    folder = f"bench/{uuid.uuid4().hex}"
    try:
        with scratch(settings.home / "tmp") as local:
            return _measure(workspace, folder, _generate(local / "file.bin", megabytes), repeats)
    finally:
        workspace.lake.remove(folder)


def _measure(workspace: Workspace, folder: str, file: Path, repeats: int) -> dict[str, Any]:
    lake = workspace.lake
    place = AbfsUrl.parse(workspace.settings.lake_url)
    alone = _adlfs_alone(place, workspace.connection(LAKE))
    theirs = "/".join(part for part in (place.container, place.folder, folder, "adlfs.bin") if part)

    def fetch() -> None:
        with lake.local(f"{folder}/lake.bin"):
            pass

    steps: dict[str, Callable[[], None]] = {
        "lake_put": lambda: lake.put(file, f"{folder}/lake.bin"),
        "adlfs_put": lambda: alone.put_file(str(file), theirs),
        "lake_local": fetch,
        "adlfs_get": lambda: alone.get_file(theirs, str(file.with_name("fetched.bin"))),
    }
    for step in steps.values():  # connections, tokens and pages of memory are there before anything is measured
        step()
    size = file.stat().st_size
    speeds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(repeats):
        _tell(f"round {number + 1} of {repeats}")
        for name in _in_turns(list(steps), number):
            started = time.monotonic()
            steps[name]()
            speeds[name].append(size / (time.monotonic() - started))
    return {"bytes": size, "repeats": repeats, **_figures(speeds)}


def _in_turns(names: list[str], number: int) -> list[str]:
    """Now the one first, now the other."""
    puts, gets = names[:2], names[2:]
    return [*puts, *gets] if number % 2 == 0 else [*puts[::-1], *gets[::-1]]


def _figures(speeds: dict[str, list[float]]) -> dict[str, Any]:
    means = {name: statistics.mean(values) for name, values in speeds.items()}
    spread = {name: {"mean": round(means[name]), "sd": round(statistics.stdev(v))} for name, v in speeds.items()}
    return {
        "lake_put_bytes_per_second": spread["lake_put"],
        "adlfs_put_bytes_per_second": spread["adlfs_put"],
        "put_ratio": round(means["lake_put"] / means["adlfs_put"], 2),
        "lake_local_bytes_per_second": spread["lake_local"],
        "adlfs_get_bytes_per_second": spread["adlfs_get"],
        "local_ratio": round(means["lake_local"] / means["adlfs_get"], 2),
    }


def _adlfs_alone(place: AbfsUrl, connection: AzureConnection | None) -> AzureBlobFileSystem:
    """adlfs as it comes, with the same identity."""
    from adlfs import AzureBlobFileSystem

    connection = connection or AzureConnection(LAKE)
    if text := connection.get("connection_string"):
        return AzureBlobFileSystem(connection_string=text, skip_instance_cache=True)
    return AzureBlobFileSystem(
        account_name=place.account,
        account_host=place.blob_host,
        credential=AsyncCredential(connection.credential()),
        skip_instance_cache=True,
    )


def _generate(path: Path, megabytes: int) -> Path:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    return path


def _tell(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201
