"""Amounts of money as people read them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from noria.costs.money import about, money, share


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0"), ("1234.5", "1,234.50"), ("0.1", "0.10"), ("0.0956", "0.10"), ("0.0421", "0.042"),
        ("0.0149", "0.015"), ("0.000998", "0.0010"), ("0.000012345", "0.000012"), ("0.0000001", "< 0.000001"),
        ("-2.5", "−2.50"), ("-0.0421", "−0.042"),
    ],
)  # fmt: skip
def test_amounts_have_as_many_places_as_they_need(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text
    assert money(Decimal(amount), "EUR") == f"{text} EUR", "the page, the mails and the terminal agree"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        ("1", "4", "25 %"), ("0.00002", "100", "< 0.1 %"), ("0.12", "100", "0.12 %"), ("0", "4", "0 %"),
        ("99.99996", "100", "> 99.9 %"), ("99.6", "100", "99.6 %"), ("4", "4", "100 %"), ("6", "4", "150 %"),
        ("-1", "4", "−25 %"), ("-0.001", "4", "< 0.1 %"), ("1", "0", "–"),
    ],
)  # fmt: skip
def test_a_share_has_no_exponent_and_no_more_digits_than_it_needs(part: str, whole: str, text: str) -> None:
    assert share(Decimal(part), Decimal(whole)) == share(float(part), float(whole)) == text


def test_an_amount_that_is_not_known_is_a_dash() -> None:
    assert money(None) == money(None, "EUR") == "–"


def test_an_estimated_amount_has_two_digits() -> None:
    assert [about(Decimal(a)) for a in ("1234.5", "12.34", "1.26", "0.126", "0.0126")] == [
        "1,200", "12", "1.3", "0.13", "0.013",
    ]  # fmt: skip
