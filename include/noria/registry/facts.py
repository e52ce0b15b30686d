"""What a version says of itself: tags, the same in every back end.

A value longer than a back end keeps is cut into several tags: `noria.holdout`, `noria.holdout.2`, ...
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from datetime import datetime

from noria.records import Candidate, ChampionVersion, Decision, HoldoutRule, Run

LONGEST = 1000
"""Characters in a tag's value: what Azure ML keeps (its service limits); MLflow keeps 5,000."""


def tags_of(run: Run, candidate: Candidate, decision: Decision) -> dict[str, str]:
    """What a new version is tagged with."""
    tags = {
        "noria.run_id": run.run_id,
        "noria.snapshot_id": candidate.snapshot_id,
        "noria.code": candidate.code,
        "noria.verdict": decision.verdict,
        "noria.estimator": candidate.estimator,
        "noria.holdout_sha256": candidate.holdout_sha256,
        "noria.model_sha256": candidate.model_sha256,
        "noria.metrics": json.dumps(candidate.metrics),
        "noria.previous_champion": decision.previous_champion or "",
        "noria.holdout": HoldoutRule.of(run.pipeline).model_dump_json(),
    }
    return dict(itertools.chain.from_iterable(_cut(key, value) for key, value in tags.items() if value))


def version_of(version: str, tags: Mapping[str, str], created_at: datetime, *, is_champion: bool) -> ChampionVersion:
    """A version from its tags."""
    rule = _joined("noria.holdout", tags)
    return ChampionVersion(
        version=version,
        is_champion=is_champion,
        created_at=created_at,
        run_id=tags["noria.run_id"],
        snapshot_id=tags["noria.snapshot_id"],
        estimator=tags["noria.estimator"],
        metrics=json.loads(_joined("noria.metrics", tags)),
        model_sha256=tags["noria.model_sha256"],
        previous_champion=tags.get("noria.previous_champion") or None,
        holdout=HoldoutRule.model_validate_json(rule) if rule else None,
    )


def _cut(key: str, value: str) -> Iterator[tuple[str, str]]:
    yield key, value[:LONGEST]
    for number, start in enumerate(range(LONGEST, len(value), LONGEST), 2):
        yield f"{key}.{number}", value[start : start + LONGEST]


def _joined(key: str, tags: Mapping[str, str]) -> str:
    keys = itertools.chain([key], (f"{key}.{number}" for number in itertools.count(2)))
    return "".join(tags[k] for k in itertools.takewhile(tags.__contains__, keys))
