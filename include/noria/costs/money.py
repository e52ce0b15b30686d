"""Amounts of money as people read them: on the page, in mails and on the terminal alike."""

from __future__ import annotations

from decimal import Decimal

from noria.records.figures import percent
from noria.report.formats import NOTHING

_LEAST_WITH_CENTS = Decimal("0.095")
_LEAST = Decimal("0.000001")
_LEAST_SHARE = 0.001


def money(amount: Decimal | None, currency: str | None = None) -> str:
    """An amount to the cent, or to two significant digits where it is below ten cents; with its currency if given."""
    if amount is None:
        return NOTHING
    sign = "−" if amount < 0 else ""
    shown = f"{sign}{_digits(abs(amount))}"
    return f"{shown} {currency}" if currency else shown


def about(amount: Decimal) -> str:
    """An estimate of an amount, to two significant digits."""
    return f"{Decimal(f'{amount:.2g}'):,f}" if abs(amount) >= 1 else money(amount)


def share(part: Decimal | float, whole: Decimal | float) -> str:
    """A part of a whole in percent, to two significant digits; nearly none and nearly all are only said to be so."""
    if not whole:
        return NOTHING
    found = float(part) / float(whole)
    if 0 < abs(found) < _LEAST_SHARE:
        return f"< {percent(_LEAST_SHARE)}"
    if 1 - _LEAST_SHARE < found < 1:
        return f"> {percent(1 - _LEAST_SHARE)}"
    return percent(found).replace("-", "−")


def _digits(size: Decimal) -> str:
    """Without an exponent; what is below a millionth is only said to be so."""
    if not size:
        return "0"
    if size >= _LEAST_WITH_CENTS:
        return f"{size:,.2f}"
    rounded = Decimal(f"{size:.2g}")
    return f"{rounded:f}" if rounded >= _LEAST else f"< {_LEAST:f}"
