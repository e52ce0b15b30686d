"""What a version says of itself: tags, the same in every back end.

A value longer than a back end keeps is cut into several tags: `noria.holdout`, `noria.holdout.2`, ...
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping

from noria.records import Candidate, HoldoutRule, Metrics, Run, SignedVerdict

RUN, MODEL = "noria.run_id", "noria.model_sha256"
VERDICT, CROWN = "noria.verdict", "noria.crown"
"""The signed verdict that let the version in, and the last one that made it the champion."""
CHAMPION_NUMBER = "noria.champion"
"""The how many-th champion it was, for readers outside; Noria believes the signature in the crown."""
FORCED = "noria.forced"
ESTIMATOR, METRICS, HOLDOUT = "noria.estimator", "noria.metrics", "noria.holdout"


def tags_of(run: Run, candidate: Candidate, verdict: SignedVerdict) -> dict[str, str]:
    """What a new version is tagged with, whole."""
    tags = {
        RUN: run.run_id,
        MODEL: candidate.model_sha256,
        "noria.snapshot_id": candidate.snapshot_id,
        "noria.code": candidate.code,
        ESTIMATOR: candidate.estimator,
        "noria.holdout_sha256": candidate.holdout_sha256,
        METRICS: json.dumps(candidate.metrics),
        HOLDOUT: HoldoutRule.of(run.pipeline).model_dump_json(),
        "noria.training_rows": candidate.training_rows,
        **entry_tags(verdict),
    }
    return {key: value for key, value in tags.items() if value}


def entry_tags(verdict: SignedVerdict) -> dict[str, str]:
    """The tags of the verdict that lets a version in."""
    return {**_forced_tags(verdict), VERDICT: verdict.model_dump_json()}


def crown_tags(verdict: SignedVerdict) -> dict[str, str]:
    """The tags of the verdict that makes it the champion; the last one is for outside readers."""
    return {
        **_forced_tags(verdict),
        CROWN: verdict.model_dump_json(),
        CHAMPION_NUMBER: str(verdict.sequence),
    }


def forced_by(verdict: SignedVerdict) -> str | None:
    """Who forced it and why, if anybody did."""
    return f"{verdict.by}: {verdict.reason}" if verdict.action == "force" else None


def cut(tags: Mapping[str, str], longest: int) -> dict[str, str]:
    """Tags whose values have so many characters at most."""
    return dict(itertools.chain.from_iterable(_cut(key, value, longest) for key, value in tags.items()))


def joined(key: str, tags: Mapping[str, str]) -> str:
    """A value that may have been cut; empty if there is none."""
    keys = itertools.chain([key], (f"{key}.{number}" for number in itertools.count(2)))
    return "".join(tags[k] for k in itertools.takewhile(tags.__contains__, keys))


def metrics_in(tags: Mapping[str, str]) -> Metrics | None:
    """A version's metrics; none if its tag is gone or cannot be read."""
    try:
        return {str(name): float(value) for name, value in json.loads(joined(METRICS, tags)).items()}
    except (ValueError, TypeError, AttributeError):
        return None


def rule_in(tags: Mapping[str, str]) -> HoldoutRule | None:
    """Which rows a version has never seen; none if its tag is gone or cannot be read."""
    try:
        return HoldoutRule.model_validate_json(joined(HOLDOUT, tags))
    except ValueError:
        return None


def is_part(tag: str, key: str) -> bool:
    """Whether a tag holds a value, or a part of it."""
    return tag == key or (tag.startswith(f"{key}.") and tag.removeprefix(f"{key}.").isdigit())


def _forced_tags(verdict: SignedVerdict) -> dict[str, str]:
    forced = forced_by(verdict)
    return {FORCED: forced} if forced else {}


def _cut(key: str, value: str, longest: int) -> Iterator[tuple[str, str]]:
    for number, start in enumerate(range(longest, len(value), longest), 2):
        yield f"{key}.{number}", value[start : start + longest]
    yield key, value[:longest]  # without it the others are nothing yet
