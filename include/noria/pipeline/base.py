"""What every part of the schema shares."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from pydantic import BaseModel, ConfigDict

SPEC_FILE = "pipeline.yaml"
NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
Scalar = bool | int | float | str
Location = tuple[str | int, ...]
"""Keys and list positions from the top of the file, such as ("columns", 2, "range")."""


class Model(BaseModel):
    """Base of every part of a spec: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, allow_inf_nan=False)


class ContradictionError(ValueError):
    """Keys that are right one by one and wrong together; each with the place of the key to change."""

    def __init__(self, found: Sequence[tuple[Location, str]]) -> None:
        self.found = tuple(found)
        super().__init__("; ".join(f"{'.'.join(map(str, place))}: {message}" for place, message in self.found))


def normalise_header(header: str) -> str:
    """Form in which headers and aliases are compared: no BOM, quotes or outer space, lower case, joined by `_`."""
    text = header.replace("\ufeff", "").strip().strip("\"'").strip().lower()
    return re.sub(r"[^0-9a-zа-я\u00c0-\uffff]+", "_", text).strip("_")


def repeated(place: Location, values: Iterable[str], key: str = "") -> Iterator[tuple[Location, str]]:
    """The values of a list that stand in it before; `key` is where each item holds its value."""
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield (*place, index, *([key] if key else [])), f"{value!r} stands twice"
        seen.add(value)
