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
from noria.records import STAGES, Failure, Run, stages_of
from noria.workspace import Workspace

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
        sections: Heading and lines, such as those of a promotion card.
        header, rows: A table of figures.
        log_stage, log: The last lines of the log of the stage that failed.
        links: Label and address.
    """

    pipeline: str
    happened: str
    good: bool = False
    details: Sequence[str] = ()
    sections: Sequence[tuple[str, Sequence[str]]] = ()
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
    if run is None:
        log = last_lines(workspace.settings.log_file(name, run_id, STAGES[0]))
        return Alert(name, f"the run could not begin{because(log)}", links=links, log_stage=STAGES[0], log=log)
    failure = workspace.failure(run)
    stage = failure.stage if failure else _unfinished_stage(run, workspace)
    log = last_lines(workspace.settings.log_file(name, run_id, stage))
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


def _unfinished_stage(run: Run, workspace: Workspace) -> str:
    """Where a failed run stopped: the first stage without a record."""
    stages = stages_of(run.pipeline)
    return next((s for s in stages if workspace.stage_run(run, s) is None), stages[-1])


def last_lines(file: Path) -> Sequence[str]:
    """The end of a log; nothing where the task ran on another machine, or never began."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - 64 * 1024))
            return stream.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    except FileNotFoundError:
        return ()


def because(log: Sequence[str]) -> str:
    """The last error of a log as the end of a sentence, or nothing."""
    return f": {log[-1].removeprefix('ERROR ')}" if log else ""


def _headline(message: str) -> str:
    return message.partition("\n")[0]


def _rest(message: str) -> Sequence[str]:
    return message.splitlines()[1:]
