"""How long Cost Management's client waits; the rest is tried on the twin."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from noria.azure import AzureConnection
from noria.azure.cost_client import CostClient, pause_seconds, status_of
from noria.errors import InputError, UnavailableError

QPU = "x-ms-ratelimit-microsoft.costmanagement-qpu-retry-after"


def refusal(**headers: str) -> UnavailableError:
    error = UnavailableError("busy")
    answer: Any = SimpleNamespace(headers=headers, status_code=429)
    error.__context__ = type("Answer", (Exception,), {"response": answer})()
    return error


@pytest.mark.parametrize(
    ("headers", "failures", "seconds"),
    [
        ({QPU: "7", "Retry-After": "3"}, 1, 7),
        ({QPU.title(): "0", "x-ms-ratelimit-microsoft.costmanagement-tenant-retry-after": "40"}, 1, 40),
        ({"x-ms-ratelimit-remaining-subscription-reads": "900"}, 1, 0.5),
        ({"Retry-After": "Fri, 01 Jan 2027 00:00:00 GMT"}, 3, 2),
        ({}, 30, 15),
    ],
)
def test_the_longest_of_what_the_headers_ask_for(headers: dict[str, str], failures: int, seconds: float) -> None:
    assert pause_seconds(refusal(**headers), failures) == seconds
    assert status_of(refusal(**headers)) == 429


def test_without_an_answer_it_doubles() -> None:
    assert [pause_seconds(UnavailableError("gone"), failures) for failures in (1, 2, 3)] == [0.5, 1, 2]


@pytest.mark.parametrize("scope", ["", "/subscriptions/s/resourceGroups/g/providers/x", "/../s", "subscriptions/"])
def test_a_scope_of_another_kind_is_refused(scope: str) -> None:
    with pytest.raises(InputError, match=r"scope"):
        CostClient(AzureConnection("azure_costs", extra={"scope": scope}))
