"""Measurements that the README quotes, so that anyone can take them again on their own machine.

One module a measurement, named as in BENCHES, with `add_arguments(parser)` and `run(args) -> dict` (JSON-ready, units
in the names). It may have `succeeded(result) -> bool`, where it can fail, and `in_short(result) -> dict` for people.
Each works in a scratch folder of its own and leaves nothing behind.
"""

from __future__ import annotations

import importlib
from types import ModuleType

BENCHES = {
    "accuracy": "the linear baseline and the tuned candidate on many holdouts of the students data",
    "costs": "a year of invoices taken into the table of costs, and the cost report made of it, with their memory",
    "gate": "attacks on the promotion gate, how often it is wrong by simulation, and what a decision costs",
    "ingest": "ingest of a large CSV file beside cp and sha256sum of the same file, with its memory",
    "lake": "throughput of the lake on ADLS Gen2 beside adlfs alone, with the same bytes",
}


def module(name: str) -> ModuleType:
    """The module of a measurement; imported late because it may be heavy."""
    return importlib.import_module(f"noria.bench.{name}")
