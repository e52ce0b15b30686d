"""Units of invoices and of metering, brought to one: hours, gigabytes, months, counts.

Cost Management writes a unit as "1 Hour", "10 Hours", "1 GB/Month", "10K" or "1/Day"; FOCUS as "Hours" or "GB".
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from typing import NamedTuple

_FORM = re.compile(r"\s*(?P<number>\d[\d,]*(?:\.\d+)?)?\s*(?P<scale>[KM](?![A-Za-z]))?(?P<words>.*)", re.DOTALL)
_SCALES = {"K": Decimal(1000), "M": Decimal(1_000_000)}
_COUNTS = ("", "count", "unit", "request", "operation", "transaction", "execution", "message", "call")
_WORDS: dict[str, tuple[str, Decimal]] = {
    "second": ("hour", Decimal(1) / 3600),
    "minute": ("hour", Decimal(1) / 60),
    "hour": ("hour", Decimal(1)),
    "hr": ("hour", Decimal(1)),
    "day": ("hour", Decimal(24)),
    "month": ("month", Decimal(1)),
    "kb": ("gb", Decimal(1) / 1024**2),
    "mb": ("gb", Decimal(1) / 1024),
    "gb": ("gb", Decimal(1)),
    "gib": ("gb", Decimal(1)),  # Azure writes GB and bills 2^30 bytes
    "gibibyte": ("gb", Decimal(1)),
    "gigabyte": ("gb", Decimal(1)),
    "tb": ("gb", Decimal(1024)),
    "tib": ("gb", Decimal(1024)),
    "vcpu": ("vcpu", Decimal(1)),
    "vcore": ("vcpu", Decimal(1)),
    "core": ("vcpu", Decimal(1)),
}


class Unit(NamedTuple):
    """What a quantity counts."""

    dimension: str
    """`count`, or words with time last: `hour`, `vcpu hour`, `gb month`."""
    size: Decimal
    """How many of the dimension one of the unit is: 10 for "10 Hours"."""


@cache
def understood(text: str | None) -> Unit | None:
    """A unit as it stands on an invoice; none where it is not understood."""
    found = _FORM.fullmatch(text or "")
    if found is None or not (text or "").strip():
        return None
    size = Decimal((found["number"] or "1").replace(",", "")) * _SCALES.get(found["scale"] or "", Decimal(1))
    dimensions: list[str] = []
    for word in re.findall(r"[a-zµ]+", found["words"].lower().replace(" per ", " ")):
        singular = word if word in _WORDS else word.removesuffix("s")
        if singular in _COUNTS:
            continue
        if singular not in _WORDS:
            return None
        dimension, factor = _WORDS[singular]
        dimensions.append(dimension)
        size *= factor
    return Unit(" ".join(sorted(dimensions, key=lambda d: (d in ("hour", "month"), d))) or "count", size)
