"""Attacks on the gate, each with the same scenario without the attack, which has to be promoted.

An attack counts as refused only if the rule or the error that is meant for it refused it, and the scenario without it
goes through: a gate that refuses everything refuses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from noria.bench.gate.attacks import on_evidence, on_registry
from noria.bench.gate.attacks.world import World

ATTACKS = (*on_evidence.ATTACKS, *on_registry.ATTACKS)


def attack_all(folder: Path, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Try all of them, one after the other, in an empty folder."""
    world = World(folder)
    return [_told(attack.tried(world), tell) for attack in ATTACKS]


def _told(result: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    tell(f"{'refused' if result['refused'] else 'GOT THROUGH'}: {result['name']}: {result['reason']}")
    return result
