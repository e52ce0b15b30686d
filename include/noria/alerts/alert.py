"""What one mail says, before it is rendered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from noria.pipeline.alerts import AlertSeverity

SUBJECT_LENGTH = 150
Links = Sequence[tuple[str, str]]
"""Label and address."""
Kind = Literal[
    "failed run",
    "failed validation",
    "rejected candidate",
    "new champion",
    "approval",
    "rollback",
    "budget",
    "cost anomaly",
    "cost report",
    "late run",
    "digest",
    "news",
]


@dataclass(frozen=True)
class Alert:
    """One mail before it is rendered.

    Attributes:
        pipeline: Name of the pipeline.
        happened: What happened and the number that matters most, in one line.
        good: Whether it is good news.
        kind: What it is about; stands above the headline.
        severity: How bad it is; by default `info` if good, else `error`.
        cause: What makes two alerts about the same thing one, such as `train: OSError: no space left on`; by default
            what happened. Numbers, ids and times in it make no difference.
        details: Sentences that explain it.
        sections: Heading and lines, such as those of a promotion card.
        header, rows: A table of figures.
        log_stage, log: The last lines of the log of the stage that failed.
        links: Label and address.
    """

    pipeline: str
    happened: str
    good: bool = False
    kind: Kind = "news"
    severity: AlertSeverity | None = None
    cause: str = ""
    details: Sequence[str] = ()
    sections: Sequence[tuple[str, Sequence[str]]] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    log_stage: str = ""
    log: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = field(default=())

    @property
    def level(self) -> AlertSeverity:
        """How bad it is."""
        return self.severity or ("info" if self.good else "error")

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
