"""What being remote costs, on the twin: the DAG's time beside the laptop's, its requests, and the lake's throughput.

    python -m tests.azure.measure [--repeat N] > measured.json

Every figure is of this machine, where the twin's services share the processors with the run; the ratio says more than
the seconds. On Azure, queueing for a node and its start come on top.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.azure.twin import azurite
from tests.azure.twin.client import Twin

NORIA = Path(sys.executable).parent / "noria"
DATA = re.compile(r"/lake/.*(data\.csv|table\.parquet|explore\.py|\.zip)|/azureml[^/]*/.*")


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="pairs of runs (default: 3)")
    repeat = parser.parse_args().repeat
    if problem := azurite.missing():
        print(problem, file=sys.stderr)
        return 2
    pairs: list[dict[str, float]] = []
    first: dict[str, Any] = {}
    again: dict[str, Any] = {}
    throughput: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="noria-measure-") as folder:
        for number in range(repeat):
            place = Path(folder) / str(number)
            here = dag_seconds({"NORIA_HOME": str(place / "local")})
            with Twin.start(place / "twin") as twin:
                environment = twin.airflow_environment | {"NORIA_HOME": str(place / "home")}
                remote = dag_seconds(environment)
                first = traffic(twin)
                twin.reset()
                anew = dag_seconds(environment)
                again = traffic(twin)
                throughput = throughput or bench_lake(twin)
            pairs.append({"local": here, "twin": remote, "twin_again": anew})
            print(f"{number + 1} of {repeat}: {pairs[-1]}", file=sys.stderr)
    ratios = [pair["twin"] / pair["local"] for pair in pairs]
    spread = statistics.stdev(ratios) if len(ratios) > 1 else 0.0
    result = {
        "dag_seconds": pairs,
        "twin_to_local": {"mean": statistics.mean(ratios), "spread": spread},
        "first_run": first,
        "run_with_nothing_new": again,
        "lake": throughput,
    }
    print(json.dumps(result, indent=1))
    return 0


def dag_seconds(environment: dict[str, str]) -> float:
    """Seconds of the DAG of the students' sample, from its start to its end."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NORIA_", "AIRFLOW"))}
    ended = subprocess.run(
        [NORIA, "up", "students", "--once"], env=clean | environment, capture_output=True, text=True, check=False
    )
    found = re.search(r"the run ended as success after ([\d.]+) s", ended.stdout)
    if found is None:
        raise SystemExit(f"the run did not end well:\n{ended.stdout}\n{ended.stderr}")
    return float(found[1])


def traffic(twin: Twin) -> dict[str, Any]:
    """Requests by service, and what was uploaded."""
    seen = twin.requests()
    written = [r for r in seen if r.service == "storage" and r.method == "PUT"]
    data = [r for r in written if DATA.search(r.path)]
    return {
        "requests": dict(collections.Counter(r.service for r in seen)),
        "bytes_written": sum(r.bytes_in for r in written),
        "data_or_code_uploads": sorted({r.path for r in data}),
    }


def bench_lake(twin: Twin) -> dict[str, Any]:
    """`noria bench lake`, on the twin."""
    environment = os.environ | twin.environment | {"NORIA_LAKE_URL": twin.lake_url("bench")}
    said = subprocess.run(
        [NORIA, "bench", "lake", "--json"], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(said.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main())
