"""Figures as people read them."""

from __future__ import annotations

import pytest

from noria.report import formats


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (1000, "1,000"),
        (66.0891, "66.09"),
        (-0.27851, "−0.2785"),
        (12345.6, "12,346"),
        (0.00001234, "1.2e-05"),
    ],
)
def test_numbers(value: float | None, shown: str) -> None:
    assert formats.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.86412, "0.864"), (-0.0017, "−0.002"), (12.52, "12.52"), (float("inf"), "inf"), (None, "–")]
)
def test_metrics(value: float | None, shown: str) -> None:
    assert formats.metric(value) == shown


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [(0.59, "percent", "59.0%"), (366.0, "integer", "366"), (66.22, "number", "66.22"), (None, "percent", "–")],
)
def test_answers(value: float | None, form: str, shown: str) -> None:
    assert formats.answer(value, form) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(999, "999 B"), (66_077, "66.1 kB"), (410_000_000, "410 MB"), (3e9, "3.0 GB")]
)
def test_sizes(value: float, shown: str) -> None:
    assert formats.size(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.94, "0.9 s"), (59.9, "59.9 s"), (187, "3.1 min"), (7200, "2.0 h")])
def test_durations(value: float, shown: str) -> None:
    assert formats.seconds(value) == shown
