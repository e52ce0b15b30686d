"""What an attack is, and when it counts as refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from noria.bench.gate.attacks.world import World
from noria.errors import NoriaError
from noria.records import Decision

log = logging.getLogger(__name__)


class RefusedAttackError(NoriaError):
    """An attack that is no single question to the gate was refused in all its parts."""


@dataclass(frozen=True)
class Attack:
    """One attack and the same scenario without it.

    Attributes:
        name: For people; the page on the gate has the same.
        kind: Of the rule that has to fail, or name of the error that has to be raised.
        scenario: What is done in a fresh world, with the attack or without; a decision, or nothing where all went
            through, or the error.
        told: Words that the reason has to contain, so that it is this reason and no other.
    """

    name: str
    kind: str
    scenario: Callable[[World, bool], Decision | None]
    told: str = ""

    def tried(self, world: World) -> dict[str, Any]:
        """Name, whether it was refused for its own reason, the reason, and whether the scenario passes without it."""
        control, why_not = self._goes_through(world)
        refused, reason, kinds = self._is_refused(world)
        told = f"the same without the attack was refused: {why_not}" if not control else reason
        return {
            "name": self.name,
            "refused": refused and control,
            "reason": told,
            "kind": self.kind,
            "kinds": kinds,
            "control_promoted": control,
        }

    def _goes_through(self, world: World) -> tuple[bool, str]:
        world.restore()
        try:
            decision = self.scenario(world, False)
        except NoriaError as error:
            return False, str(error)
        if decision is None or decision.verdict == "promote":
            return True, ""
        return False, "; ".join(decision.reasons)

    def _is_refused(self, world: World) -> tuple[bool, str, list[str]]:
        world.restore()
        try:
            decision = self.scenario(world, True)
        except NoriaError as error:
            kind = type(error).__name__
            own = kind == self.kind or (isinstance(error, RefusedAttackError) and self.told in str(error))
            return own and self.told in str(error), str(error), [kind]
        if decision is None:
            return False, "it went through", []
        failed = [rule for rule in decision.rules if not rule.passed and (rule.required or rule.kind == "champion")]
        own_rules = [rule for rule in failed if rule.kind == self.kind and self.told in rule.detail]
        reason = "; ".join(rule.detail for rule in own_rules or failed) or "it went through"
        return decision.verdict != "promote" and bool(own_rules), reason, sorted({rule.kind for rule in failed})
