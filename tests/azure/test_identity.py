"""Tokens where the endpoint that gives them is in trouble."""

from __future__ import annotations

import pytest

from noria.azure import LAKE
from tests.azure.twin.client import Twin

pytestmark = pytest.mark.slow
SCOPE = "https://storage.azure.com/.default"


def test_a_throttled_endpoint_is_waited_for(twin: Twin) -> None:
    """More refusals than azure-identity bears of itself; each says when to come back."""
    twin.fault("identity", status=429, headers={"Retry-After": "1"}, times=6)
    assert twin.connection(LAKE).credential().get_token(SCOPE).token
    assert len(twin.requests("identity")) == 7
