"""Units as invoices, FOCUS and our own metering write them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from noria.costs.units import Unit, understood


@pytest.mark.parametrize(
    ("text", "dimension", "size"),
    [
        ("1 Hour", "hour", 1),
        ("10 Hours", "hour", 10),
        ("Hours", "hour", 1),
        ("1/Day", "hour", 24),
        ("vCPU-Hours", "vcpu hour", 1),
        ("100 vCore Hours", "vcpu hour", 100),
        ("1 GB/Month", "gb month", 1),
        ("100 GB/Month", "gb month", 100),
        ("GiB-Months", "gb month", 1),
        ("1 TB", "gb", 1024),
        ("10K", "count", 10_000),
        ("1M", "count", 1_000_000),
        ("10,000", "count", 10_000),
        ("10000 Requests", "count", 10_000),
        ("1 Month", "month", 1),  # not a million
    ],
)
def test_units_are_brought_to_a_dimension_and_a_size(text: str, dimension: str, size: int) -> None:
    assert understood(text) == Unit(dimension, Decimal(size))


@pytest.mark.parametrize("text", ["", None, "1 Foo", "Hours of Foo", "1 GB/Fortnight"])
def test_what_is_not_understood_is_not_guessed(text: str | None) -> None:
    assert understood(text) is None
