"""The scheduled export: made where there is none, mended where it differs, left alone where it is as wanted."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from noria.azure.cost_client import CostClient, Json, is_stale
from noria.costs.deliveries import ROOT
from noria.errors import AccessError, InputError, RefusedError
from noria.lake.abfs.url import AbfsUrl

log = logging.getLogger(__name__)

DATA_VERSION = "1.0r2"
"""Of FOCUS as Azure exports it; 1.0r2 writes its times as ISO 8601."""
_TRIES = 3
_YEARS = 5
"""For which the schedule is made; it is renewed in its last month."""
_NO_FOCUS = re.compile(
    r"FocusCost\W* is not supported|invalid definition type '?FocusCost|not supported for (this )?agreement type", re.I
)
"""What the service says of an account type without FOCUS; its code is the BadRequest of any mistake."""
_NO_EXPORT = "RBACAccessDenied"
"""What some account types (Microsoft Customer Agreement of individuals, pay as you go) say to any export, whatever the
roles; where a role is missing indeed, the Query API refuses too, and says so."""


class NoFocusError(RefusedError):
    """The account has no FOCUS export: the Query API is asked instead."""


def keep_export(client: CostClient, lake_url: str, now: datetime) -> bool:
    """Bring the export in line; whether anything had to be sent.

    Raises:
        NoFocusError: The account type has none.
        InputError: The connection names another storage account than the lake's.
    """
    for _ in range(_TRIES):
        try:
            return _keep(client, _wanted(client, lake_url), now)
        except (RefusedError, AccessError) as error:
            if not is_stale(error):  # else somebody was faster: look again
                raise _explained(error) from None
    raise RefusedError(
        f"export {client.export_name}, {client.resource}: somebody changes it again and again",
        remedy="Give Noria's export a name of its own: extra.exportName of the connection azure_costs.",
    )


def _keep(client: CostClient, wanted: Json, now: datetime) -> bool:
    kept = client.export()
    if kept is not None and _has(kept, wanted) and not _is_ending(kept, now):
        return False
    wanted["properties"]["schedule"]["recurrencePeriod"] = _period(now)
    client.put_export(wanted | ({"eTag": kept["eTag"]} if kept and kept.get("eTag") else {}))
    log.info("export %s is %s", client.export_name, "mended" if kept else "made")
    return True


def _explained(error: RefusedError | AccessError) -> RefusedError | AccessError:
    said = str(error)
    if _NO_EXPORT in said or (isinstance(error, RefusedError) and _NO_FOCUS.search(said)):
        return NoFocusError(error.got, expected=error.expected, remedy=error.remedy)
    return error


def _wanted(client: CostClient, lake_url: str) -> Json:
    place, account = AbfsUrl.parse(lake_url), client.storage_account
    if account.rstrip("/").rpartition("/")[2].lower() != place.account.lower():
        raise InputError(
            f"extra.storageAccountId of the connection azure_costs is {account}",
            expected=f"the id of the lake's storage account, {place.account}",
            remedy="See docs/azure.md.",
        )
    return {
        "properties": {
            "exportDescription": "What Noria costs, for its table costs.",
            "definition": {
                "type": "FocusCost",
                "timeframe": "MonthToDate",
                "dataSet": {"granularity": "Daily", "configuration": {"dataVersion": DATA_VERSION}},
            },
            "deliveryInfo": {
                "destination": {
                    "type": "AzureBlob",
                    "resourceId": account,
                    "container": place.container,
                    "rootFolderPath": "/".join(filter(None, (place.folder, ROOT))),
                }
            },
            "format": "Parquet",
            "compressionMode": "snappy",
            "partitionData": True,
            "dataOverwriteBehavior": "CreateNewReport",
            "schedule": {"status": "Active", "recurrence": "Daily"},
        }
    }


def _has(kept: Any, wanted: Any) -> bool:
    """Whether all that is wanted is kept so; the service adds keys, and spells words and ids in another case."""
    if isinstance(wanted, Mapping):
        return isinstance(kept, Mapping) and all(_has(kept.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, str):
        return str(kept).lower() == wanted.lower()
    return bool(kept == wanted)


def _period(now: datetime) -> Json:
    """A schedule may not begin in the past."""
    start = (now.astimezone(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return {"from": _zulu(start), "to": _zulu(start + timedelta(days=365 * _YEARS))}


def _is_ending(kept: Json, now: datetime) -> bool:
    end = (kept["properties"].get("schedule", {}).get("recurrencePeriod") or {}).get("to")
    return end is not None and moment_of(end) < now + timedelta(days=30)


def moment_of(text: str) -> datetime:
    """A time as the service writes it; without a zone it is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _zulu(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
