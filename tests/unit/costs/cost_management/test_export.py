"""When the schedule is renewed; what is sent is tried on the twin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from noria.costs.cost_management.export import keep_export

MADE = datetime(2026, 11, 21, tzinfo=UTC)
URL = "abfss://lake@account.dfs.core.windows.net"


class Kept(SimpleNamespace):
    """A service that keeps one export."""

    export_name, resource, storage_account = "x", "a scope", "/subscriptions/s/storageAccounts/account"
    body: Any = None

    def export(self) -> Any:
        return self.body

    def put_export(self, body: Any) -> None:
        self.body = body


@pytest.mark.parametrize("zone", ["Z", "", "+01:00"])
def test_a_schedule_is_renewed_in_its_last_month_be_its_end_told_with_a_zone_or_without(zone: str) -> None:
    client: Any = Kept()
    assert keep_export(client, URL, MADE)
    client.body["properties"]["schedule"]["recurrencePeriod"]["to"] = f"2031-11-22T12:00:00{zone}"
    end = datetime(2031, 11, 22, tzinfo=UTC)
    assert not keep_export(client, URL, end - timedelta(days=30))
    assert keep_export(client, URL, end - timedelta(days=29))
    assert client.body["properties"]["schedule"]["recurrencePeriod"]["to"] > "2036"
