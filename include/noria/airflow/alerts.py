"""What an alert says: composed from a run's records, rendered as plain text and HTML. Sending belongs to notifiers."""

from __future__ import annotations

import email.policy
import email.utils
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from noria.airflow.pages import find_validation
from noria.errors import ExitCode
from noria.pipeline import Pipeline
from noria.records import STAGES, Candidate, Decision, Failure, Metrics, Run
from noria.workspace import Workspace, run_path

if TYPE_CHECKING:
    import jinja2

LOG_LINES = 20
SUBJECT_LENGTH = 150


@dataclass(frozen=True)
class Alert:
    """One mail before it is rendered.

    Attributes:
        pipeline: Name of the pipeline.
        happened: What happened and the number that matters most, in one line.
        good: Whether it is good news.
        details: Sentences that explain it.
        header, rows: A table of figures.
        log_stage, log: The last lines of the log of the stage that failed.
        links: Label and address.
    """

    pipeline: str
    happened: str
    good: bool = False
    details: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    log_stage: str = ""
    log: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = field(default=())

    @property
    def subject(self) -> str:
        """One line for the header; line breaks and control characters cannot get through."""
        line = re.sub(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+", " ", f"[Noria] {self.pipeline}: {self.happened}")
        return line if len(line) <= SUBJECT_LENGTH else f"{line[: SUBJECT_LENGTH - 1]}…"

    def aligned(self) -> list[str]:
        """The table as lines of plain text."""
        table = [self.header, *self.rows]
        widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
        return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table]


def failure_alert(
    name: str, run_id: str, run: Run | None, workspace: Workspace, links: Sequence[tuple[str, str]]
) -> Alert:
    """A run that ended badly: its data failed validation, or a stage failed.

    Args:
        name: The pipeline.
        run_id: The run in Noria's form.
        run: The run; none if it could not be created.
        workspace: Where its records are.
        links: Label and address.
    """
    stage = _unfinished_stage(run, workspace)
    log = _last_lines(workspace.settings.log_file(name, run_id, stage))
    if run is None:
        why = f": {log[-1].removeprefix('ERROR ')}" if log else ""
        return Alert(name, f"the run could not begin{why}", links=links, log_stage=stage, log=log)
    failure = _failure(run, stage, workspace)
    if failure is None:
        return Alert(
            name,
            f"the run failed in {stage}: it ended without a word",
            details=["Perhaps it was killed, or memory ran out."],
            links=links,
            log_stage=stage,
            log=log,
        )
    if failure.exit_code == ExitCode.INVALID_DATA:
        return _invalid_alert(run, failure, workspace, links, log)
    return Alert(
        name,
        f"the run failed in {stage}: {_headline(failure.message)}",
        details=_rest(failure.message),
        links=links,
        log_stage=stage,
        log=log,
    )


def verdict_alert(run: Run, workspace: Workspace, links: Sequence[tuple[str, str]]) -> Alert | None:
    """A new champion or a rejected candidate; none where the champion stays, and none for a dry run."""
    decision = workspace.find(run, "promote", Decision)
    if decision is None or decision.dry_run or not (decision.new_champion or decision.verdict == "reject"):
        return None
    pipeline = run.pipeline
    metric = pipeline.primary_metric
    value = f"{metric} {_number(decision.candidate_metrics[metric])}"
    if decision.verdict == "promote":
        before = decision.champion_metrics
        if decision.compared_metrics:  # figures side by side are of the same rows
            value = f"{metric} {_number(decision.compared_metrics[metric])} on {decision.compared_rows} holdout rows"
        than = f", before {_number(before[metric])}" if before and metric in before else ", the first one"
        happened = f"new champion, version {decision.champion_version}: {value}{than}"
    else:
        happened = f"candidate rejected ({value}): {'; '.join(decision.reasons)}"
    header, rows = _metrics_table(pipeline, decision, workspace.find(run, "train", Candidate))
    return Alert(
        pipeline.name,
        happened,
        good=decision.verdict == "promote",
        details=[f"{'passed' if r.passed else 'failed'}: {r.detail}" for r in decision.rules],
        header=header,
        rows=rows,
        links=links,
    )


def to_message(alert: Alert, recipients: Sequence[str], sender: str) -> EmailMessage:
    """The mail: plain text with an HTML alternative."""
    message = EmailMessage(policy=email.policy.SMTP.clone(max_line_length=250))  # a subject is not folded
    message["Subject"] = alert.subject
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Date"] = email.utils.localtime()
    message["Message-ID"] = email.utils.make_msgid(domain="noria.local")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_templates().get_template("alert.txt.j2").render(alert=alert))
    message.add_alternative(_templates().get_template("alert.html.j2").render(alert=alert), subtype="html")
    return message


@cache
def _templates() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _invalid_alert(
    run: Run, failure: Failure, workspace: Workspace, links: Sequence[tuple[str, str]], log: Sequence[str]
) -> Alert:
    validation = find_validation(run, workspace)
    failed = [r for r in validation.results if not r.success] if validation else []
    return Alert(
        run.pipeline.name,
        f"the data failed validation: {_headline(failure.message)}",
        details=[*_rest(failure.message), "No model was trained; the champion stays."],
        header=("Expectation", "Column", "Severity", "Expected", "Observed") if failed else (),
        rows=[(r.expectation, r.column or "", r.severity, r.expected, r.observed) for r in failed],
        links=links,
        log_stage=failure.stage,
        log=log,
    )


def _metrics_table(
    pipeline: Pipeline, decision: Decision, candidate: Candidate | None
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    columns: dict[str, Metrics] = {"Candidate": decision.candidate_metrics}
    unseen = f" on {decision.compared_rows} rows" if decision.compared_rows is not None else ""
    if decision.compared_metrics:
        columns[f"Candidate{unseen}"] = decision.compared_metrics
    if decision.champion_metrics:
        columns[f"Champion before{unseen}"] = decision.champion_metrics
    columns.update({f"Baseline {n}": m for n, m in (candidate.baselines if candidate else {}).items()})
    required = {
        t.metric: f"at least {_number(t.min)}" if t.min is not None else f"at most {_number(t.max)}"
        for t in pipeline.gate.thresholds
    }
    rows = [
        (metric, *(_number(values.get(metric)) for values in columns.values()), required.get(metric, ""))
        for metric in pipeline.metrics
    ]
    return ("Metric", *columns, "Required"), rows


def _unfinished_stage(run: Run | None, workspace: Workspace) -> str:
    """The first stage without a record: where a failed run stopped."""
    if run is None:
        return STAGES[0]
    return next((s for s in STAGES if workspace.stage_run(run, s) is None), STAGES[-1])


def _failure(run: Run, stage: str, workspace: Workspace) -> Failure | None:
    try:
        path = run_path(run.pipeline.name, run.run_id, f"{stage}.failed.json")
        return Failure.model_validate_json(workspace.lake.read(path))
    except FileNotFoundError:
        return None


def _last_lines(file: Path) -> Sequence[str]:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - 64 * 1024))
            return stream.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    except FileNotFoundError:  # the task ran on another machine, or never began
        return ()


def _headline(message: str) -> str:
    return message.partition("\n")[0]


def _rest(message: str) -> Sequence[str]:
    return message.splitlines()[1:]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
