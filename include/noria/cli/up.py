"""Start Airflow on this machine, retrain a pipeline and follow the run; the UI stays until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from noria.airflow.defaults import FORM_FIELDS, JOB_TOLD_TO_END, MAIL_LOG, RETRAIN_SUFFIX
from noria.errors import ExitCode, InputError, NoriaError, StorageError
from noria.launcher.api import run_page
from noria.launcher.component import tail
from noria.launcher.follow import Outcome, follow
from noria.launcher.stack import Stack
from noria.mailbox import inbox
from noria.pipeline import Pipeline, load_pipeline
from noria.records import Failure, Report, Run
from noria.settings import Settings
from noria.workspace import Workspace, safe_run_id

DAG_SECONDS = 60.0
MAIL_SECONDS = 90.0
"""A busy machine takes half a minute from the end of a run to the mail about it."""
LOG_LINES = 25
REPLACE_SECONDS = 30.0
ELSEWHERE_SECONDS = 20.0
UNDER_WAY = ("queued", "running", "restarting")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `noria up`."""
    parser.add_argument("name", metavar="NAME", nargs="?", default="students", help="the pipeline (default: students)")
    parser.add_argument("--once", action="store_true", help="end when the run ends; exit code 0 if it succeeded")
    parser.add_argument("--port", type=int, metavar="N", help="port of the UI (default: 8080 or a free one)")
    parser.add_argument(
        "--source", metavar="URI", help="github://owner/repo/path@ref, https://…, file:///…, sample://…"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"change a field of the trigger form ({', '.join(FORM_FIELDS)}) or a value of the spec, such as "
        "tuning.folds=5",
    )
    parser.add_argument("--home", type=Path, metavar="DIR", help="state folder (default: NORIA_HOME or ./var)")


def run(args: argparse.Namespace) -> int:
    """Boot, trigger, follow; the exit code."""
    settings = Settings.from_env()
    if args.home is not None:
        settings = settings.with_home(args.home.resolve())
    conf = _conf(args.set)
    # A wrong value is told now, not by the run in a minute.
    pipeline = load_pipeline(args.name, settings.pipelines, conf.get("overrides"), args.source)
    if args.source is not None:
        conf["source"] = pipeline.source.uri
    console = Console(highlight=False, soft_wrap=True, markup=False)
    session = _Session(settings, pipeline, console)
    begun = time.monotonic()
    try:
        stack = Stack(settings, port=args.port, scheduled_runs=not args.once, tell=session.tell)
        with stack:
            session.tell(f"Airflow is up after {time.monotonic() - begun:.0f} s: {stack.url}")
            session.tell(f"log in as {stack.user} with the password {stack.password}")
            outcome = session.retrain(stack, conf)
            session.conclude(stack, outcome, wait_for_mail=args.once)
            if not args.once:
                session.stay(stack)
            console.print("stopping Airflow …")
    except KeyboardInterrupt:
        console.print("interrupted; Airflow is stopped")
        return int(ExitCode.FAILED) if session.outcome is None else session.exit_code
    return session.exit_code


class _Session:
    """One run that a person waits for."""

    def __init__(self, settings: Settings, pipeline: Pipeline, console: Console) -> None:
        self._pipeline, self._console = pipeline, console
        self._workspace = Workspace.open(settings)
        self._home = settings.home
        self._settings = settings
        self._dag_id = f"{pipeline.name}{RETRAIN_SUFFIX}"
        self._begun, self._begun_at = time.monotonic(), datetime.now(UTC)
        self._mails_told = len(inbox.read(settings.home))
        self.outcome: Outcome | None = None

    @property
    def exit_code(self) -> int:
        """0 if every task of the run succeeded, whatever its verdict; else what the failed stage ended with."""
        if self.outcome is None or not self.outcome.succeeded:
            failure = self._failure()
            return failure.exit_code if failure else int(ExitCode.FAILED)
        return int(ExitCode.OK)

    def tell(self, line: str) -> None:
        """One line with the seconds since the start."""
        self._console.print(f"{time.monotonic() - self._begun:6.1f} s  {line}")

    def retrain(self, stack: Stack, conf: dict[str, Any]) -> Outcome:
        """Trigger the pipeline's DAG and follow the run to its end, or stop it if this is interrupted."""
        self._wait_for_dag(stack)
        self._run_id = self._begin(stack, conf)
        self.tell(f"run {self._run_id} of {self._dag_id}: {run_page(stack.url, self._dag_id, self._run_id)}")
        try:
            self.outcome = follow(stack.api, self._dag_id, self._run_id, check=stack.check, tell=self.tell)
        except KeyboardInterrupt:
            self._end_run(stack)
            raise
        return self.outcome

    def _end_run(self, stack: Stack) -> None:
        """End the run, and wait until Airflow's triggerer has ended what of it runs elsewhere."""
        asleep: list[dict[str, Any]] = []
        with contextlib.suppress(NoriaError):  # the run is to be ended all the same
            asleep = [t for t in stack.api.tasks(self._dag_id, self._run_id) if t["state"] == "deferred"]
        stack.api.fail_run(self._dag_id, self._run_id, "Interrupted by the person who started it.")
        for task in asleep:
            self._end_elsewhere(stack, task)

    def _end_elsewhere(self, stack: Stack, task: dict[str, Any]) -> None:
        self.tell(f"ending the job of {task['task_id']} that runs elsewhere")
        deadline = time.monotonic() + ELSEWHERE_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(NoriaError):
                if JOB_TOLD_TO_END in stack.api.task_log(task):
                    return
            time.sleep(0.5)
        link = ""
        with contextlib.suppress(NoriaError):
            link = stack.api.task_links(task).get("Remote job", "")
        self.tell(f"it was not seen to end within {ELSEWHERE_SECONDS:.0f} s; see whether it has: {link}")

    def conclude(self, stack: Stack, outcome: Outcome, *, wait_for_mail: bool) -> None:
        """Verdict, report, mail, address."""
        run = self._frozen_run()
        decision = self._workspace.decision(run) if run else None
        report = self._workspace.find(run, "report", Report) if run else None
        self.tell(f"the run ended as {outcome.state} after {outcome.seconds:.1f} s")
        if decision:
            self._console.print(f"\n{decision.verdict}: {'; '.join(decision.reasons)}")
        if not outcome.succeeded:
            self._explain(outcome)
        if report:
            self._console.print(f"report: {self._workspace.lake.url(report.html)}")
        if wait_for_mail and self._pipeline.alerts.emails:
            self._wait_for_mail(stack)
        self._tell_mails()
        self._console.print(f"UI:     {run_page(stack.url, self._dag_id, self._run_id)}")

    def stay(self, stack: Stack) -> None:
        """Keep Airflow up until somebody stops it or a component ends."""
        self._console.print(
            f"        log in as {stack.user} with the password {stack.password}; Ctrl-C ends everything"
        )
        while True:
            stack.check()
            self._tell_mails()
            time.sleep(1)

    def _tell_mails(self) -> None:
        """Mails that nobody has been told of yet."""
        for mail in inbox.read(self._home)[self._mails_told :]:
            self._console.print(f"mail {mail.number}: {mail.subject}   (noria inbox {mail.number})")
            self._mails_told = mail.number

    def _wait_for_dag(self, stack: Stack) -> None:
        deadline = time.monotonic() + DAG_SECONDS
        while (dag := stack.api.dag(self._dag_id)) is None:
            stack.check()
            if time.monotonic() > deadline:
                errors = "\n".join(f"{file}: {trace}" for file, trace in stack.api.import_errors().items())
                raise InputError(
                    f"Airflow found no DAG {self._dag_id} within {DAG_SECONDS:.0f} s. {errors}",
                    remedy="Run `noria doctor`; it reads every pipeline.yaml.",
                )
            time.sleep(0.3)
        if dag["is_paused"]:
            stack.api.unpause(self._dag_id)

    def _begin(self, stack: Stack, conf: dict[str, Any]) -> str:
        """The run to follow: a new one, or the scheduled run that this start has set off if that is just the same."""
        for left in stack.api.unfinished_runs(self._dag_id):
            run_id = str(left["dag_run_id"])
            if datetime.fromisoformat(left["queued_at"] or left["run_after"]) < self._begun_at:
                self._replace(stack, run_id)
            elif not conf:
                self.tell(f"{run_id} has begun by itself: it was due")
                return run_id
        return stack.api.trigger(self._dag_id, conf)

    def _replace(self, stack: Stack, run_id: str) -> None:
        """End a run that was cut off with an earlier launcher; Airflow would notice its dead tasks after minutes."""
        stack.api.fail_run(self._dag_id, run_id, "Replaced by the run that `noria up` starts with.")
        self.tell(f"{run_id} had not ended; this run replaces it")
        deadline = time.monotonic() + REPLACE_SECONDS
        while time.monotonic() < deadline:
            if not any(task["state"] in UNDER_WAY for task in stack.api.tasks(self._dag_id, run_id)):
                return
            stack.check()
            time.sleep(0.3)

    def _frozen_run(self) -> Run | None:
        try:
            return self._workspace.load_run(self._pipeline.name, safe_run_id(self._run_id))
        except StorageError:  # it ended before its first stage began
            return None

    def _failure(self) -> Failure | None:
        run = self._frozen_run() if hasattr(self, "_run_id") else None
        return self._workspace.failure(run) if run else None

    def _explain(self, outcome: Outcome) -> None:
        failure = self._failure()
        for task in outcome.failed_tasks:
            log = self._settings.log_file(self._pipeline.name, safe_run_id(self._run_id), task)
            self._console.print(f"\n{task} failed; the end of {log}:\n{tail(log, LOG_LINES) or '(nothing was logged)'}")
        if failure:
            self._console.print(f"\n{failure.stage}: {failure.message}")

    def _wait_for_mail(self, stack: Stack) -> None:
        """The end of a run is told some seconds later, by Airflow's DAG processor; ending it before would lose that."""
        told = self._settings.log_file(self._pipeline.name, safe_run_id(self._run_id), MAIL_LOG)
        deadline = time.monotonic() + MAIL_SECONDS
        while not told.exists():
            stack.check()
            if time.monotonic() > deadline:
                self.tell(f"Airflow did not tell the end of the run within {MAIL_SECONDS:.0f} s; no mail will come")
                return
            time.sleep(0.2)


def _conf(changes: list[str]) -> dict[str, Any]:
    """What the DAG is triggered with: fields of its form, and other values of the spec."""
    from ruamel.yaml import YAML

    conf: dict[str, Any] = {}
    for change in changes:
        key, separator, value = change.partition("=")
        if not (separator and key):
            raise InputError(f"--set {change}", expected="KEY=VALUE, such as trials=8")
        if key in FORM_FIELDS:
            conf[key] = YAML(typ="safe", pure=True).load(value)
        else:
            conf.setdefault("overrides", {})[key] = value
    return conf
