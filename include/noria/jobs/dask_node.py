"""One node of a training on several: `python -m noria.jobs.dask_node --pipeline P --run-id R --workers K` on each.

The first node trains, with Dask workers on all nodes; the others work until it has ended. A node ends well only if the
training's record stands: one that lost the first node on the way fails, and the platform ends the job.
"""

from __future__ import annotations

import argparse
import logging
import sys

from noria.compute.dask_nodes import DaskNode
from noria.errors import ExitCode, NoriaError
from noria.jobs.metering import Metering
from noria.records import Run
from noria.settings import Settings
from noria.workspace import Workspace, run_path

log = logging.getLogger("noria")


def main() -> None:
    """Parse the arguments, do this node's part, and exit with its code."""
    parser = argparse.ArgumentParser(prog="python -m noria.jobs.dask_node", description=__doc__)
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--workers", type=int, required=True, help="worker processes on each node")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    logging.getLogger("azure").setLevel(logging.WARNING)  # it tells every request with its headers
    try:
        sys.exit(_do_part(args.pipeline, args.run_id, args.workers))
    except NoriaError as error:
        log.error("%s", error)
        sys.exit(int(error.exit_code))


def _do_part(pipeline: str, run_id: str, workers: int) -> int:
    settings = Settings.from_env()
    node = settings.node
    part = DaskNode(node, workers, settings.full_environment(), str(settings.home / "tmp"))
    workspace = Workspace.open(settings)
    run = workspace.load_run(pipeline, run_id)
    with Metering("train", run.pipeline.name, run.run_id, workspace, whole_process=True, is_node=True) as metering:
        code = _work(part, run, workspace)
        metering.has_failed = code != ExitCode.OK
    return code


def _work(part: DaskNode, run: Run, workspace: Workspace) -> int:
    names = ["--pipeline", run.pipeline.name, "--run-id", run.run_id]
    if part.node.rank == 0:
        return part.lead([sys.executable, "-m", "noria.jobs.train", *names])
    part.follow()
    if workspace.lake.exists(run_path(run.pipeline.name, run.run_id, "train")):
        return ExitCode.OK
    log.error("node %d lost the first node before the training's record was written", part.node.rank)
    return ExitCode.FAILED


if __name__ == "__main__":
    main()
