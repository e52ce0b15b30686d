"""What all tests share: the slowest files come first, so that both cores are busy to the end."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.azure.live", "tests.azure.twin.fixtures"]


MINUTES = (
    "azure/test_retrain.py",
    "integration/test_launcher.py",
    "integration/test_killed_stages.py",
    "unit/cli/test_main.py",
)
"""Files that take a minute or more each."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (not str(item.path).endswith(MINUTES), item.path not in slow))
