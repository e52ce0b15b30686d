"""What all tests share: files with slow tests come first, so that both cores are busy to the end."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.azure.twin.fixtures", "tests.azure.live"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
