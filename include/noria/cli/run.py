"""Run a pipeline's stages without Airflow: ingest, validate, explore, train, promote, report.

Where people are asked for approval, the run ends with a candidate that waits for `noria promote`.

A run that would break a budget is told of, asked about on the terminal, or ended before its first job, as
`when_exceeded` of that budget says.

Exit code: 0 promoted, waiting or the champion kept, 2 bad input or usage, 3 candidate rejected, 4 data failed
validation, 1 anything else.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console

from noria.azure import CONNECTIONS
from noria.cli.admission import FLAG, admit, check_sheet
from noria.compute.process import JobProcess
from noria.costs.held import release
from noria.costs.of_run import run_use
from noria.errors import BusyError, ExitCode, InputError, NoriaError
from noria.jobs.runner import run_job
from noria.pipeline import load_pipeline
from noria.records import Candidate, Decision, Metrics, Report, Run, Snapshot, stages_of
from noria.settings import Settings
from noria.verdicts import CONNECTION as VERDICTS
from noria.verdicts import SIGNING_STAGES
from noria.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `noria run`."""
    parser.add_argument("name", metavar="NAME", help="the pipeline: a folder with a pipeline.yaml")
    parser.add_argument(
        "--source",
        metavar="URI",
        help="github://owner/repo/path@ref, https://…, file:///…, sample://students?rows=1000",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a value of the spec, such as tuning.trials=8",
    )
    parser.add_argument(
        "--home", type=Path, metavar="DIR", help="where all state is kept (default: NORIA_HOME or ./var)"
    )
    parser.add_argument(
        FLAG, metavar="REASON", help="let the run break its budget, where the budget asks people; kept with your name"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")


def run(args: argparse.Namespace) -> int:
    """Run every stage in order; the exit code."""
    settings = Settings.from_env()
    if args.home is not None:
        settings = settings.with_home(args.home.resolve())
    workspace = Workspace.open(settings)
    source = _absolute(args.source)
    overrides = _overrides(args.set)
    pipeline = load_pipeline(args.name, settings.pipelines, overrides, source)  # a wrong one must not touch the home
    check_sheet(pipeline, settings)
    try:
        with FileLock(_lock_path(settings, args.name)).acquire(blocking=False):
            run = workspace.create_run(args.name, overrides=overrides, source=source)
            console = Console(stderr=True)
            console.print(f"[bold]{run.pipeline.name}[/bold] run {run.run_id}")
            try:
                admit(run, workspace, console, args.exceed_budget)
            except NoriaError as error:
                if args.json:
                    print(json.dumps(_result(run, workspace, 0.0, error)))  # noqa: T201
                raise
            try:
                return _run_stages(run, workspace, console, as_json=args.json)
            finally:
                release(run, workspace)
    except Timeout:
        raise BusyError(
            f"another run of {args.name!r} is in progress in {settings.home}",
            remedy="Wait for it, or give this one a home of its own with --home.",
        ) from None


def _run_stages(run: Run, workspace: Workspace, console: Console, *, as_json: bool) -> int:
    signal.signal(signal.SIGTERM, _terminate)
    started = time.monotonic()
    failure: NoriaError | None = None
    for stage in stages_of(run.pipeline):
        if (failure is not None and stage != "report") or stage == "release":  # a person answers later, or never
            continue
        begun = time.monotonic()
        try:
            with console.status(f"{stage} …") as status:
                _stage(stage, run, workspace, lambda line, s=stage, st=status: st.update(f"{s}: {line[-100:]}"))
            mark, note = "[green]✓[/green]", _note(stage, run, workspace)
        except NoriaError as error:
            failure = failure or error
            mark, note = "[red]✗[/red]", str(error)
        console.print(f"{mark} {stage:<9}{time.monotonic() - begun:6.1f} s  {note}", highlight=False)
    result = _result(run, workspace, time.monotonic() - started, failure)
    if as_json:
        print(json.dumps(result, allow_nan=False))  # noqa: T201
    else:
        _tell(console, result)
    if result["waiting"]:
        answer = f"noria promote {result['pipeline']} --run {result['run_id']} --approve --reason …"
        console.print(f"waits for approval: {answer}", highlight=False, markup=False, soft_wrap=True)
    if failure is not None:
        return int(failure.exit_code)
    return int(ExitCode.REJECTED if result["verdict"] == "reject" else ExitCode.OK)


def _stage(stage: str, run: Run, workspace: Workspace, on_line: Any) -> None:
    settings = workspace.settings
    credentials = _credentials(stage, run, settings)
    log_file = settings.log_file(run.pipeline.name, run.run_id, stage)
    job = JobProcess(stage, run, settings, credentials=credentials, log_file=log_file, on_line=on_line)
    run_job(stage, job, run, workspace)


def _credentials(stage: str, run: Run, settings: Settings) -> dict[str, str]:
    """Connection id -> what a stage's job is given of it."""
    wanted = (*run.pipeline.connections, *([VERDICTS] if stage in SIGNING_STAGES else []))
    credentials = {c: password for c in wanted if (password := settings.connection_password(c))}
    return credentials | {c: text for c in CONNECTIONS if (text := settings.connection_text(c))}


def _note(stage: str, run: Run, workspace: Workspace) -> str:
    """One line about what a stage did."""
    if stage == "ingest":
        snapshot = workspace.require(run, stage, Snapshot)
        known = " (known bytes)" if snapshot.reused else ""
        rows = f"{snapshot.rows} rows, {snapshot.quarantined_rows} quarantined"
        return f"{rows}, snapshot {snapshot.snapshot_id[:12]}{known}"
    if stage == "train":
        candidate = workspace.require(run, stage, Candidate)
        metric = candidate.primary_metric
        return (
            f"{candidate.estimator}: {metric} {candidate.metrics[metric]:.3f} on {candidate.holdout_rows} holdout rows"
        )
    if stage == "promote":
        decision = workspace.require(run, stage, Decision)
        waits = " (waits for approval)" if decision.waiting else ""
        return f"{decision.verdict}{waits}: {'; '.join(decision.reasons)}"
    return ""


def _result(run: Run, workspace: Workspace, seconds: float, failure: NoriaError | None) -> dict[str, Any]:
    snapshot = workspace.find(run, "ingest", Snapshot)
    candidate = workspace.find(run, "train", Candidate)
    decision = workspace.decision(run)
    report = workspace.find(run, "report", Report)
    use = run_use(run, workspace)
    stages = {s: e.usage.wall_seconds for s in stages_of(run.pipeline) if (e := workspace.stage_run(run, s))}
    return {
        "pipeline": run.pipeline.name,
        "run_id": run.run_id,
        "snapshot": snapshot.snapshot_id if snapshot else None,
        "verdict": decision.verdict if decision else None,
        "waiting": decision.waiting if decision else None,
        "reasons": list(decision.reasons) if decision else [str(failure)],
        "metrics": _finite(candidate.metrics) if candidate else None,
        "baselines": {name: _finite(m) for name, m in candidate.baselines.items()} if candidate else None,
        "champion_version": decision.champion_version if decision else None,
        "report": workspace.lake.url(report.html) if report else None,
        "cost": float(use.cost) if use and use.cost is not None else None,
        "currency": use.currency if use else None,
        "used": use.words if use else None,
        "seconds": round(seconds, 2),
        "stages": stages,
        "error": str(failure) if failure else None,
    }


def _finite(metrics: Metrics) -> dict[str, float | None]:
    """Metrics as JSON can tell them: null where one is not defined."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _tell(console: Console, result: dict[str, Any]) -> None:
    if result["verdict"]:
        console.print(f"[bold]{result['verdict']}[/bold]: {'; '.join(result['reasons'])}", highlight=False)
    if result["used"]:
        console.print(f"cost: {result['used']}", highlight=False, soft_wrap=True)
    if result["report"]:
        console.print(f"report: {result['report']}", highlight=False, soft_wrap=True)


def _overrides(pairs: list[str]) -> dict[str, str]:
    overrides = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not (separator and key):
            raise InputError(f"--set {pair}", expected="KEY=VALUE, such as tuning.trials=8")
        overrides[key] = value
    return overrides


def _absolute(source: str | None) -> str | None:
    """A plain path means a file from the directory of the caller."""
    if source is not None and "://" not in source:
        return Path(source).expanduser().resolve().as_uri()
    return source


def _lock_path(settings: Settings, name: str) -> Path:
    folder = settings.home / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.lock"


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(int(ExitCode.FAILED))
