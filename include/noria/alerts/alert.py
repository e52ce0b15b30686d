"""What one mail says, before it is rendered."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

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
KINDS: tuple[Kind, ...] = get_args(Kind)
_TAGS: dict[AlertSeverity, str] = {
    "info": "[Noria]",
    "warning": "[Noria warning]",
    "error": "[Noria error]",
    "critical": "[Noria CRITICAL]",
}
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad"  # control characters, the soft hyphen
    r"\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # lines, direction, tags
    r"\ud800-\udfff]+"  # halves of characters, as names of files may hold
)
_ID = re.compile(
    r"(?<![a-z0-9])(?:0x[0-9a-f]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8,})(?![a-z0-9])"  # UUID, hash
    r"|\d{4}-?\d\d-?\d\d(?:[T _]\d\d[:.-]?\d\d(?:[:.-]?\d\d)?(?:[.,]?\d+)?(?:Z|[+-]\d\d[:.-]?\d\d)?)?"  # a time
    r"|\b\d\d?:\d\d(?::\d\d(?:[.,]\d+)?)?\b"
    r"|\btmp[a-z0-9_]{6,}",  # as Python names temporary files
    re.IGNORECASE,
)
_QUOTED = re.compile(r"""((?<!\w)'[^']*'(?!\w)|"[^"]*"|`[^`]*`|“[^”]*”)""")
_NUMBER = re.compile(r"(?<![\w.])(?<!\w-)[+-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?(?:[a-z]{1,3})?(?!\w|\.\d)", re.I)
"""Also with a unit, such as 3.5GB; not an address such as 10.0.0.1, nor a name such as G1."""
_REPEATED = re.compile(r"#(?: ?#)+")


@dataclass(frozen=True)
class Alert:
    """One mail before it is rendered. Line breaks and control characters in its lines become spaces.

    Attributes:
        pipeline: Name of the pipeline.
        happened: What happened and the number that matters most, in one line.
        good: Whether it is good news.
        kind: What it is about; stands above the headline.
        severity: How bad it is; by default `info` if good, else `error`.
        cause: What makes two alerts about the same thing one, such as `train: OSError: no space left on`; by default
            what happened, apart from numbers, ids and times (`same`).
        run_id: The run in Noria's form, if it is about one.
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
    run_id: str = ""
    details: Sequence[str] = ()
    sections: Sequence[tuple[str, Sequence[str]]] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    log_stage: str = ""
    log: Sequence[str] = ()
    links: Links = field(default=())

    def __post_init__(self) -> None:
        lines = {
            "pipeline": printable(self.pipeline),
            "happened": printable(self.happened),
            "cause": printable(self.cause),
            "run_id": printable(self.run_id),
            "log_stage": printable(self.log_stage),
            "details": _lines(self.details),
            "sections": tuple((printable(title), _lines(section)) for title, section in self.sections),
            "header": _lines(self.header),
            "rows": tuple(_lines(row) for row in self.rows),
            "log": _lines(self.log),
            "links": tuple((printable(label), printable(address)) for label, address in self.links),
        }
        for name, value in lines.items():
            object.__setattr__(self, name, value)

    @property
    def level(self) -> AlertSeverity:
        """How bad it is."""
        return self.severity or ("info" if self.good else "error")

    @property
    def subject(self) -> str:
        """One line for the header; what looks like an encoded word is none, as line breaks could hide in it."""
        line = f"{_TAGS[self.level]} {self.pipeline}: {self.happened}".replace("=?", "= ?")
        return line if len(line) <= SUBJECT_LENGTH else f"{line[: SUBJECT_LENGTH - 1]}…"

    def key(self, recipients: Sequence[str]) -> str:
        """What two alerts have in common that are one mail: about the same, as bad, and for the same people."""
        parts = (self.pipeline, self.kind, self.level, self.cause or same(self.happened), *sorted(recipients))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]

    def aligned(self, width: int) -> list[str]:
        """The table as lines of plain text: upright, else on its side, else a line for each cell."""
        upright = (self.header, *self.rows)
        for table in (upright, tuple(zip(*upright, strict=True))):
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            if sum(widths) + 2 * (len(widths) - 1) <= width:
                return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table]
        return [
            f"{'  ' if number else ''}{name}: {cell}"
            for row in self.rows
            for number, (name, cell) in enumerate(zip(self.header, row, strict=True))
            if cell
        ]


def same(text: str) -> str:
    """What two messages have in common that differ in numbers, ids and times only; what stands in quotes is a name."""
    parts = _QUOTED.split(_ID.sub("#", text))
    parts[::2] = [_NUMBER.sub("#", part) for part in parts[::2]]
    return _REPEATED.sub("#", " ".join("".join(parts).casefold().split()))


def printable(text: str) -> str:
    """Text of which no character ends a line, steers a terminal, or turns the direction of others."""
    return _UNPRINTABLE.sub(" ", text)


def _lines(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(printable(text) for text in texts)
