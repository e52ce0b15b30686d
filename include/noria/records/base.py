"""What every record is."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict

STAGES = ("ingest", "validate", "explore", "train", "promote", "release", "report")
"""`release` is part of a run only where the gate's policy asks people for approval."""
Metrics = dict[str, float]


class Record(BaseModel):
    """Base of every record: immutable, unknown keys refused, NaN and infinity kept as JSON strings."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


def digest(model: BaseModel, *, exclude: frozenset[str] = frozenset()) -> str:
    """SHA-256 over a model's values as canonical JSON: the same values give the same digest, in any order of keys."""
    return hashlib.sha256(canonical(model, exclude=exclude)).hexdigest()


def canonical(model: BaseModel, *, exclude: frozenset[str] = frozenset()) -> bytes:
    """A model's values as JSON with sorted keys and no spaces; what is hashed and signed."""
    values = json.loads(model.model_dump_json(exclude=set(exclude)))
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
