"""Figures in sentences, the same in a rule and in a report."""

from __future__ import annotations


def percent(value: float, digits: int = 2) -> str:
    """A share to significant digits, more where it would look like all though it is not."""
    share = 100 * value
    if share >= 99.5:
        texts = (f"{share:.{places}f}" for places in range(10))
        return f"{next((text for text in texts if share >= 100 or not text.startswith('100')), '100')} %"
    return f"{share:.{digits}g} %"


def ordinal(count: int) -> str:
    """1st, 2nd, 3rd, 4th; 11th."""
    ending = "th" if count % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"{count:,}{ending}"
