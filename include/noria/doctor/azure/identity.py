"""Who asks: the identity of each connection, its tenant, how long its token lasts, and whether the clock is right."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import httpx

from noria.azure import CONNECTIONS, LAKE, AzureConnection
from noria.azure.errors import Service, explained
from noria.doctor.azure.connections import Connections
from noria.doctor.finding import Verdict
from noria.doctor.together import Check
from noria.errors import AccessError
from noria.lake.abfs.url import AbfsUrl

SCOPE = "https://storage.azure.com/.default"
"""Any service will do to see who is signed in; every identity of Noria needs this one."""
SKEW_WARN_SECONDS, SKEW_FAIL_SECONDS = 60.0, 300.0
"""Entra ID's tokens are refused by a clock that is 5 minutes off."""
_HTTP_SECONDS = 5.0


def identity_checks(connections: Connections) -> list[Check]:
    """One check for each different identity."""
    checks = []
    for subject, used_by in _identities(connections).items():
        resource = f"identity of {', '.join(connection.conn_id for connection in used_by)}"
        checks.append(Check(subject, resource, partial(check_identity, used_by[0], resource)))
    return checks


def identity_subjects(connections: Connections) -> dict[str, tuple[str, ...]]:
    """For each connection the subject of its identity's check, or none if it needs no identity."""
    found: dict[str, tuple[str, ...]] = dict.fromkeys(CONNECTIONS, ())
    for subject, used_by in _identities(connections).items():
        found |= {connection.conn_id: (subject,) for connection in used_by}
    return found


def _identities(connections: Connections) -> dict[str, list[AzureConnection]]:
    """Connections by the subject of the identity that they share."""
    known = {LAKE: AzureConnection(LAKE), **connections.usable}
    by_identity: dict[tuple[str, ...], list[AzureConnection]] = {}
    for conn_id in CONNECTIONS:
        connection = known.get(conn_id)
        if connection is None or conn_id in connections.broken or connection.get("connection_string"):
            continue
        key = (connection.identity, connection.tenant, connection.authority)
        by_identity.setdefault(key, []).append(connection)
    one = len(by_identity) == 1
    return {"identity" if one else f"identity {group[0].conn_id}": group for group in by_identity.values()}


def check_identity(connection: AzureConnection, resource: str) -> Verdict:
    """Somebody is signed in, in the tenant that the connection names, and for a while."""
    with explained(resource, Service.ML):
        credential = connection.credential()
        token = credential.get_token(SCOPE)
    claims = _claims(token.token)
    seconds_left = token.expires_on - time.time()
    until = f"{datetime.fromtimestamp(token.expires_on, UTC):%H:%M} UTC"
    tenant = str(claims.get("tid") or "")
    chosen = type(getattr(credential, "_successful_credential", None) or credential).__name__
    who = str(claims.get("upn") or claims.get("appid") or connection.identity)
    if claims.get("oid"):
        who += f" (object {claims['oid']})"
    if connection.tenant and tenant and tenant.lower() != connection.tenant.lower():
        raise AccessError(
            f"{resource}: {chosen} signs in to tenant {tenant}",
            expected=f"tenant {connection.tenant}, as extra.tenantId of {connection.conn_id} says",
            remedy="Mend extra.tenantId, or sign in to that tenant (az login --tenant, another managed identity).",
        )
    if seconds_left <= 0:
        raise AccessError(
            f"{resource}: {chosen} gives a token that has expired at {until}",
            remedy="Look at this machine's clock, and at what gives the token.",
        )
    return "ok", f"{who} of tenant {tenant or '?'} by {chosen}, token until {until}", ""


def _claims(token: str) -> Mapping[str, Any]:
    """What a token says of itself; nothing if it is not one that says anything."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, IndexError):
        return {}
    return claims if isinstance(claims, dict) else {}


def check_clock(lake_url: str, connection: AzureConnection | None) -> Verdict:
    """This machine's time beside that of the storage account."""
    if connection is not None and connection.get("connection_string"):
        return "ok", "not looked at: the lake is reached with a key", ""
    host = (connection.get("account_host") if connection else "") or AbfsUrl.parse(lake_url).blob_host
    try:
        before = time.time()
        answer = httpx.head(f"https://{host}/", timeout=_HTTP_SECONDS)
        there = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (httpx.HTTPError, KeyError, ValueError) as error:
        return "warn", f"{host} does not tell the time ({type(error).__name__})", "See the line of the lake."
    # The header has whole seconds and the answer took its time; between the two nothing can be said.
    skew = max(there - time.time(), before - there - 1.0, 0.0)
    if skew < SKEW_WARN_SECONDS:
        return "ok", f"within {max(1.0, skew):.0f} s of Azure's", ""
    remedy = "Set this machine's clock (chrony, systemd-timesyncd): tokens are refused when it is 5 minutes off."
    return ("fail" if skew >= SKEW_FAIL_SECONDS else "warn"), f"{skew:.0f} s off Azure's", remedy
