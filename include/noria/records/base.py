"""What every record is."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict

STAGES = ("ingest", "validate", "explore", "train", "promote", "release", "report")
"""`release` is part of a run only where the gate's policy asks people for approval."""
BEFORE_STAGES = "budget"
"""Whose failure ends a run before its first stage."""
Metrics = dict[str, float]


class Record(BaseModel):
    """Base of every record: immutable, unknown keys refused, NaN and infinity kept as JSON strings."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


def digest(model: BaseModel, *, exclude: frozenset[str] = frozenset()) -> str:
    """SHA-256 over a model's values as canonical JSON: the same values give the same digest, in any order of keys."""
    return hashlib.sha256(canonical(model, exclude=exclude)).hexdigest()


def policy_digest(policy: BaseModel) -> str:
    """SHA-256 of a policy, apart from what has its default: a key that comes later changes no older policy's digest."""
    return hashlib.sha256(canonical(policy, exclude_defaults=True)).hexdigest()


def canonical(model: BaseModel, *, exclude: frozenset[str] = frozenset(), exclude_defaults: bool = False) -> bytes:
    """A model's values as JSON with sorted keys and no spaces; what is hashed and signed."""
    values = json.loads(model.model_dump_json(exclude=set(exclude), exclude_defaults=exclude_defaults))
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
