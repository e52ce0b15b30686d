"""The charges that the twin's Azure knows: the knob `invoice` of `costs`; without it there is no data at all.

A charge is `{"day", "cost"}` and, where it matters, `currency`, `resource` (its id), `service` and `tags`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from tests.azure.twin.state import TwinState


@dataclass(frozen=True)
class Charge:
    """One line of the invoice."""

    day: date
    cost: Decimal
    currency: str = "EUR"
    resource: str = ""
    service: str = "Azure Machine Learning"
    tags: dict[str, str] = field(default_factory=dict)


def charges(state: TwinState, first: date, last: date) -> list[Charge]:
    """Those of days, both ends included."""
    told = [
        Charge(**charge | {"day": date.fromisoformat(charge["day"]), "cost": Decimal(charge["cost"])})
        for charge in state.knob("costs", "invoice", [])
    ]
    return [charge for charge in told if first <= charge.day <= last]
