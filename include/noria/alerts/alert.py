"""What one mail says, before it is rendered."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from noria.azure.redact import without_secrets
from noria.pipeline.alerts import AlertSeverity

SUBJECT_LENGTH = 150
LINE_LENGTH = 1_000
"""Characters of a line of a mail; what is longer is cut."""
MOST_LINES = 50
"""Of the sentences, the sections, each section, the table and the log."""
MOST_LINKS = 200
IN_SHORT_LINES, IN_SHORT_LENGTH = 15, 300
"""Lines that a digest has for one alert, and their characters."""
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
    """One mail before it is rendered.

    Line breaks and control characters in its lines become spaces, secrets are cut out, and so is what is too much.

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
            "pipeline": _line(self.pipeline),
            "happened": _line(self.happened),
            "cause": without_secrets(printable(self.cause)),
            "run_id": printable(self.run_id),
            "log_stage": _line(self.log_stage),
            "details": _lines(self.details),
            "sections": _sections(self.sections),
            "header": _lines(self.header),
            "rows": _rows(self.rows),
            "log": _lines(self.log, keep_end=True),
            "links": tuple((printable(label), printable(address)) for label, address in self.links[:MOST_LINKS]),
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
        return _cut(line, SUBJECT_LENGTH)

    @property
    def in_short(self) -> tuple[str, ...]:
        """What a digest says of it: the sentences, the sections, and each row of the table as a line."""
        lines = [*self.details]
        for title, section in self.sections:
            lines += [f"{title}: {section[0]}", *section[1:]] if section else [title]
        for row in self.rows:
            cells = [f"{name} {cell}" for name, cell in zip(self.header[1:], row[1:], strict=False) if cell]
            lines.append(f"{row[0]}: {', '.join(cells)}" if cells else row[0])
        return tuple(_cut(line, IN_SHORT_LENGTH) for line in _first(lines, IN_SHORT_LINES))

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


def _line(text: str) -> str:
    return _cut(without_secrets(printable(text)), LINE_LENGTH)


def _cut(line: str, most: int) -> str:
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _lines(texts: Sequence[str], *, keep_end: bool = False) -> tuple[str, ...]:
    kept = texts[-MOST_LINES:] if keep_end else _first(texts, MOST_LINES)
    return tuple(_line(text) for text in kept)


def _sections(sections: Sequence[tuple[str, Sequence[str]]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    kept = [(_line(title), _lines(section)) for title, section in sections[:MOST_LINES]]
    if len(sections) > MOST_LINES:
        kept[-1] = (_more(len(sections) - MOST_LINES + 1), ())
    return tuple(kept)


def _rows(rows: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    kept = [_lines(row) for row in rows[:MOST_LINES]]
    if len(rows) > MOST_LINES:
        kept[-1] = (_more(len(rows) - MOST_LINES + 1), *("" for _ in kept[-1][1:]))
    return tuple(kept)


def _first(texts: Sequence[str], most: int) -> tuple[str, ...]:
    """The first ones; what there is more is counted in the last of them, so that this again changes nothing."""
    return tuple(texts) if len(texts) <= most else (*texts[: most - 1], _more(len(texts) - most + 1))


def _more(number: int) -> str:
    return f"… and {number} more"
