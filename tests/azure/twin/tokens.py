"""Tokens of Entra ID: made by the identity endpoint, checked by every service."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection

import jwt

from tests.azure.twin.state import TwinState

ISSUER = "https://sts.windows.net/{tenant}/"
LIFETIME_SECONDS = 3600.0


def mint(state: TwinState, resource: str, client_id: str = "system-assigned") -> tuple[str, int]:
    """A token for a resource and the second when it expires.

    The knobs `lifetime_seconds` and `tenant` of `identity` change it.
    """
    now = time.time()
    tenant = state.knob("identity", "tenant", state.tenant)
    expires = int(now + state.knob("identity", "lifetime_seconds", LIFETIME_SECONDS))
    claims = {
        "aud": resource,
        "iss": ISSUER.format(tenant=tenant),
        "iat": int(now),
        "nbf": int(now) - 60,
        "exp": expires,
        "tid": tenant,
        "oid": str(uuid.uuid5(uuid.NAMESPACE_DNS, client_id)),
        "appid": client_id,
        "jti": str(uuid.uuid4()),
        "xms_minted": now,
    }
    return state.plant(jwt.encode(claims, state.signing_key, algorithm="HS256")), expires


def refusal(state: TwinState, authorization: str, audiences: Collection[str]) -> str | None:
    """Why a request with this header is not let in; none if it is.

    The knob `refuse_before` of `identity` refuses tokens that were made before this second, although they have not
    expired: what a client knows only when it is told.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        return "no bearer token came with the request"
    try:
        claims = jwt.decode(
            token, state.signing_key, algorithms=["HS256"], options={"verify_aud": False, "verify_nbf": False}
        )
    except jwt.ExpiredSignatureError:
        return "the access token has expired"
    except jwt.InvalidTokenError as error:
        return f"the access token is not one of this tenant's: {error}"
    if claims["xms_minted"] < state.knob("identity", "refuse_before", 0.0):
        return "the access token has expired"
    if claims["tid"] != state.tenant:
        return (
            f"the access token is from the wrong issuer {claims['iss']}; expected {ISSUER.format(tenant=state.tenant)}"
        )
    if claims["aud"].rstrip("/") not in {audience.rstrip("/") for audience in audiences}:
        return f"the access token is for {claims['aud']}; expected {' or '.join(audiences)}"
    return None
