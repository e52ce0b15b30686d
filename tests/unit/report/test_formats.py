"""Figures as people read them."""

from __future__ import annotations

import pytest

from noria.records import figures
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


@pytest.mark.parametrize(
    ("value", "shown"), [(0.00603, "+0.00603"), (-0.1734, "−0.173"), (0.0, "0"), (1234.4, "+1,234"), (-12.0, "−12")]
)
def test_differences_have_a_sign(value: float, shown: str) -> None:
    assert formats.signed(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.05, "5 %"), (0.00338, "0.34 %"), (0.0304, "3 %"), (0.996, "99.6 %"), (0.99985, "99.98 %"), (1.0, "100 %")],
)
def test_shares(value: float, shown: str) -> None:
    assert figures.percent(value) == shown


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        (0.864, 0.858, ("0.864", "0.858")),
        (0.86412, 0.86409, ("0.86412", "0.86409")),
        (0.5, 0.5, ("0.500", "0.500")),
        (0.5, float("nan"), ("0.500", "undefined")),
    ],
)
def test_metrics_side_by_side_can_be_told_apart(one: float, other: float, shown: tuple[str, str]) -> None:
    assert formats.apart(one, other) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (23, "23rd")]
)
def test_ordinals(count: int, shown: str) -> None:
    assert figures.ordinal(count) == shown
