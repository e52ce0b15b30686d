"""What all tests share: the slow ones run one after the other, on one core, while the other core runs the rest."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.xdist_group("slow"))
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
