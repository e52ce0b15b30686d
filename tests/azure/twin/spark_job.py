"""One batch, in a process of its own: `python -m tests.azure.twin.spark_job FOLDER`, with what was submitted in FOLDER.

Local Spark cannot read `abfss://`. So arguments that name something in the lake become files of this machine, fetched
before the job runs; what the job has written is put into the lake when it has ended, well or not: there it would be if
the job had written it itself.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from noria.azure import LAKE, AzureConnection
from noria.compute.spark import spark_configuration, spark_environment, spark_home
from noria.lake import Lake, open_lake
from noria.settings import Settings

MASTER = "local[2]"
_URL = re.compile(r"abfss?://[^\s\"'<>,;]+")


class Files:
    """The lake as files of this machine."""

    def __init__(self, folder: Path, connection: AzureConnection) -> None:
        self._folder, self._connection = folder, connection
        self._fetched: dict[Path, tuple[int, int]] = {}
        self._lakes: dict[str, Lake] = {}

    def fetch(self, argument: str) -> str:
        """The argument with paths of local files in place of addresses in the lake."""
        return _URL.sub(lambda found: str(self._fetch(found[0])), argument)

    def put_back(self) -> None:
        """Put into the lake what is new or has changed."""
        for root, lake in self._lakes.items():
            folder = self._folder / root
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                if self._fetched.get(file) != _stamp(file):
                    lake.put(file, file.relative_to(folder).as_posix())

    def _fetch(self, url: str) -> Path:
        scheme, _, rest = url.partition("://")
        root, _, path = rest.partition("/")
        lake = self._lakes.setdefault(root, open_lake(f"{scheme}://{root}", self._connection))
        target = self._folder / root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        for found in [path] if lake.exists(path) else lake.list(path):
            file = self._folder / root / found
            file.parent.mkdir(parents=True, exist_ok=True)
            with lake.local(found) as local:
                file.write_bytes(local.read_bytes())
            self._fetched[file] = _stamp(file)
        return target


def main(folder: Path) -> int:
    """Fetch, run, put back; the job's exit code."""
    options = json.loads((folder / "options.json").read_text())
    settings = Settings.from_env()
    connection = AzureConnection.parse(LAKE, settings.connection_text(LAKE))
    files = Files(folder / "files", connection)
    script, *arguments = [files.fetch(text) for text in (options["file"], *options.get("args", ()))]
    own = {key: value for key, value in options.get("conf", {}).items() if key.startswith("spark.")}
    configuration = [f"--conf={key}={value}" for key, value in (spark_configuration(MASTER) | own).items()]
    code = subprocess.call(
        [spark_home() / "bin" / "spark-submit", "--master", MASTER, *configuration, script, *arguments],
        stdin=subprocess.DEVNULL,
        env=settings.child_environment() | spark_environment(settings),
        cwd=folder,
    )
    files.put_back()
    return code


def _stamp(file: Path) -> tuple[int, int]:
    facts = file.stat()
    return facts.st_mtime_ns, facts.st_size


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
