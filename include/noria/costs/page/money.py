"""Amounts of money as people read them."""

from __future__ import annotations

from decimal import Decimal

from noria.report.formats import NOTHING


def money(amount: Decimal | None, digits: int = 2) -> str:
    """An amount without its currency: to the cent, or to two significant digits where it is below ten cents."""
    if amount is None:
        return NOTHING
    size = abs(amount)
    sign = "−" if amount < 0 else ""
    if size == 0:
        return "0"
    if size >= Decimal("0.095"):
        return f"{sign}{size:,.{digits}f}"
    return f"{sign}{_plain(Decimal(f'{size:.2g}'))}"


def about(amount: Decimal) -> str:
    """An estimate of an amount, to two significant digits."""
    return f"{Decimal(f'{amount:.2g}'):,f}" if abs(amount) >= 1 else money(amount)


def _plain(amount: Decimal) -> str:
    """Without an exponent; what is below a millionth is only said to be so."""
    return f"{amount:f}" if amount >= Decimal("0.000001") else "< 0.000001"
