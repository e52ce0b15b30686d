"""Tables of the documentation, so that tests can hold them against the code."""

from __future__ import annotations

import re
from pathlib import Path


def table(page: Path, heading: str) -> list[list[str]]:
    """Rows of the first table below a heading, without the table's own heading."""
    part = page.read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    part = re.split(r"(?m)^#+ ", part, maxsplit=1)[0]
    rows = [line for line in part.splitlines() if line.startswith("|")]
    assert rows, f"{page.name} has no table below {heading}"
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]
