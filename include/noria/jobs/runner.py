"""What every job does around its stage: arguments, metering, records, exit codes."""

from __future__ import annotations

import argparse
import atexit
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn, TypeVar

from typing_extensions import override

from noria.azure.redact import without_secrets
from noria.compute.process import JobProcess
from noria.errors import ExitCode, JobError, NoriaError, StorageError
from noria.jobs.metering import Metering, keep_untold
from noria.records import Failure, Record, Run, StageRun
from noria.settings import Settings
from noria.workspace import Workspace, run_path, to_json

R = TypeVar("R", bound=Record)
log = logging.getLogger("noria")


def main(stage: str, function: Callable[[Run, Workspace], Record]) -> None:
    """Parse the arguments, run the stage, print its reference or its error as JSON, and exit with its code."""
    parser = argparse.ArgumentParser(prog=f"python -m noria.jobs.{stage}", description=f"Run the {stage} stage.")
    parser.add_argument("--pipeline", required=True)
    parser.add_argument("--run-id", required=True)

    def work(args: argparse.Namespace, workspace: Workspace) -> str:
        run = workspace.load_run(args.pipeline, args.run_id)
        return run_stage(stage, function, run, workspace, whole_process=True)

    serve(stage, parser, work)


def serve(job: str, parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace, Workspace], str]) -> None:
    """Do a job that answers with the lake path of its record; print it or its error as JSON, and exit with its code."""
    parser.add_argument(
        "--lease",
        action="store_true",
        help="read credentials as one line of JSON from standard input, and end when it closes (the parent died)",
    )
    args = parser.parse_args()
    answer_fd = _reserve_standard_output()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("azure").setLevel(logging.WARNING)  # it tells every request with its headers
    credentials = _take_lease() if args.lease else {}
    code = ExitCode.OK
    try:
        answer = {"record": work(args, Workspace.open(Settings.from_env(), credentials))}
    except NoriaError as error:
        log.error("%s", error)
        answer, code = {"error": type(error).__name__, "message": without_secrets(str(error))}, error.exit_code
    except Exception as error:
        log.exception("%s failed", job)
        message = without_secrets(f"{type(error).__name__}: {error}")
        answer, code = {"error": type(error).__name__, "message": message}, ExitCode.FAILED
    os.write(answer_fd, json.dumps(answer).encode() + b"\n")
    _exit(code)


class _Formatter(logging.Formatter):
    """Keeps secrets out of the log: errors of services, and their tracebacks, may hold some."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def _exit(code: ExitCode) -> NoReturn:
    """End at once: taking a hundred modules apart costs a short job a tenth of its time, and nobody could meter it."""
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does first: wait for threads
    atexit._run_exitfuncs()
    sys.stderr.flush()
    os._exit(int(code))


def run_stage(
    stage: str,
    function: Callable[[Run, Workspace], Record],
    run: Run,
    workspace: Workspace,
    *,
    whole_process: bool = False,
) -> str:
    """Run a stage unless its record exists, meter it and publish the record; the record's lake path.

    Args:
        stage: Name of the stage.
        function: Does it.
        run: The run.
        workspace: The world.
        whole_process: This process does nothing else, so that its start and its imports belong to the stage too.
    """
    path = run_path(run.pipeline.name, run.run_id, stage)
    failed = run_path(run.pipeline.name, run.run_id, f"{stage}.failed.json")
    if workspace.lake.exists(path):
        log.info("%s was done before; its record stands", stage)
        workspace.lake.remove(failed)
        return path
    metering = Metering(stage, run.pipeline.name, run.run_id, workspace, whole_process=whole_process)
    try:
        with metering:
            record = function(run, metering.workspace)
    except Exception as error:
        keep_failure(stage, error, run, workspace)
        raise
    envelope = StageRun(
        pipeline=run.pipeline.name,
        run_id=run.run_id,
        stage=stage,
        started_at=metering.job.started_at,
        finished_at=metering.job.finished_at,
        usage=metering.usage,
        record=record.model_dump(mode="json"),
    )
    workspace.lake.create(path, to_json(envelope))
    workspace.lake.remove(failed)
    return path


def run_job(stage: str, job: JobProcess, run: Run, workspace: Workspace) -> str:
    """Run a stage in a child process, and keep what that could not: why it died, and what it used until then.

    A time limit or Ctrl-C that ends the job goes on to the caller.

    Args:
        stage: Name of the stage.
        job: Its process.
        run: The run.
        workspace: The world.

    Returns:
        The record's lake path.

    Raises:
        NoriaError: What the job said went wrong.
        JobError: The job ended without an answer.
    """
    try:
        return job.run()
    except JobError as error:
        keep_failure(stage, error, run, workspace)
        raise
    finally:
        if job.died is not None:
            keep_untold(job.died, run, stage, workspace.lake)


def keep_failure(stage: str, error: Exception, run: Run, workspace: Workspace) -> None:
    """Keep why a stage failed beside the records; for parents too, whose job died without a word."""
    failure = Failure(
        stage=stage,
        error=type(error).__name__,
        message=without_secrets(str(error)),
        retryable=error.retryable if isinstance(error, NoriaError) else False,
        exit_code=error.exit_code if isinstance(error, NoriaError) else ExitCode.FAILED,
        failed_at=workspace.clock(),
    )
    path = run_path(run.pipeline.name, run.run_id, f"{stage}.failed.json")
    try:
        workspace.lake.replace(path, to_json(failure))
    except StorageError as storage_error:  # the first error is the one to report
        log.warning("the failure could not be kept: %s", storage_error)


def _reserve_standard_output() -> int:
    """Keep standard output for the answer; what libraries print goes to standard error. The answer's descriptor."""
    answer_fd = os.dup(1)
    os.dup2(2, 1)
    return answer_fd


def _take_lease() -> dict[str, str]:
    """Credentials from standard input; from then on this process group dies with its parent."""
    credentials: dict[str, str] = json.loads(sys.stdin.readline() or "{}")

    def watch() -> None:
        sys.stdin.read()
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="lease").start()
    return credentials
