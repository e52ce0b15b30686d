"""Who asks: tokens where the endpoint that gives them is in trouble, and a lake that wants none."""

from __future__ import annotations

import pytest

from noria.azure import LAKE, AzureConnection
from noria.lake import open_lake
from tests.azure.twin.client import Twin

pytestmark = pytest.mark.slow
SCOPE = "https://storage.azure.com/.default"


def test_a_throttled_endpoint_is_waited_for(twin: Twin) -> None:
    """More refusals than azure-identity bears of itself; each says when to come back."""
    twin.fault("identity", status=429, headers={"Retry-After": "1"}, times=6)
    assert twin.connection(LAKE).credential().get_token(SCOPE).token
    assert len(twin.requests("identity")) == 7


def test_a_connection_string_opens_the_lake_without_a_token(twin: Twin) -> None:
    connection = AzureConnection(LAKE, extra={"connection_string": twin.connection_string})
    lake = open_lake(twin.lake_url(), connection)
    assert lake.create("a.json", b"1") and not lake.create("a.json", b"2")
    assert lake.read("a.json") == b"1"
    assert not twin.requests("identity")
