"""What all tests share: the slowest files come first, so that both cores are busy to the end."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.azure.live", "tests.azure.twin.fixtures"]


MINUTES = (
    "integration/test_launcher.py",
    "azure/test_retrain.py",
    "dags/test_live.py",
    "integration/test_killed_stages.py",
    "unit/bench/test_gate.py",
    "contract/test_registry.py",
    "unit/stages/test_promote.py",
    "contract/test_ledger.py",
    "azure/test_azureml_jobs.py",
    "unit/stages/test_explore.py",
)
"""Files that take a good part of a minute or more each, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def turn(item: pytest.Item) -> tuple[int, bool]:
        long = (number for number, name in enumerate(MINUTES) if str(item.path).endswith(f"/{name}"))
        return next(long, len(MINUTES)), item.path not in slow

    items.sort(key=turn)
