"""The tags of a version: read back as they were written, and never longer than a back end keeps."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from noria.records import HoldoutRule, Run, digest
from noria.registry.audit import findings
from noria.registry.facts import crown_tags, cut, tags_of
from noria.registry.versions import Stored, Versions
from tests.support.learning import pipeline
from tests.support.registering import KEYRING, judged

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST = 1000


def a_run(columns: int) -> Run:
    few = pipeline()
    more = [{"name": f"column_number_{i:04d}", "type": "number"} for i in range(columns)]
    document = [c.model_dump(mode="json", exclude_none=True) for c in few.columns] + more
    return Run(run_id="r1", pipeline=pipeline(name="p", columns=document), code="c", created_at=NOW)


def read(tags: dict[str, str]) -> Versions:
    return Versions("p", [Stored("8", tags, NOW)], KEYRING)


@pytest.mark.parametrize("columns", [0, 20, 21, 22, 23, 24, 25, 26, 27, 28, 200])
def test_a_rule_of_many_columns_comes_back(tmp_path: Path, columns: int) -> None:
    run, one = a_run(columns), judged(tmp_path, "p", "r1", 2, "7")
    tags = cut(tags_of(run, one.candidate, one.verdict) | crown_tags(one.verdict), LONGEST)
    assert max(map(len, tags.values())) <= LONGEST and len(tags) < 50
    (version,) = read(tags).history
    assert version.holdout == HoldoutRule.of(run.pipeline)
    assert (version.metrics, version.run_id, version.previous_champion) == (one.candidate.metrics, "r1", "7")
    assert (version.verdict, version.sequence, version.training_rows) == (one.verdict, 2, "rows")


@pytest.mark.parametrize("length", [0, 300, 500, 1000, 4000])
def test_a_verdict_with_a_long_reason_is_verified(tmp_path: Path, length: int) -> None:
    one = judged(tmp_path, "p", reason="x" * length)
    tags = cut(tags_of(one.run, one.candidate, one.verdict) | crown_tags(one.verdict), LONGEST)
    champion = read(tags).champion
    assert champion is not None and champion.crown == champion.verdict == one.verdict


@pytest.mark.parametrize("gone", ["noria.metrics", "noria.estimator"])
def test_a_champion_stays_one_whose_facts_were_taken_away(tmp_path: Path, gone: str) -> None:
    one = judged(tmp_path, "p")
    tags = tags_of(one.run, one.candidate, one.verdict) | crown_tags(one.verdict)
    assert findings(read(tags), None) == []
    del tags[gone]
    versions = read(tags)
    assert versions.champion is not None
    found = versions.describe(versions.champion)
    assert found is not None and found.is_champion and found.snapshot_id == one.verdict.snapshot_id
    assert [f"its tag {gone} was removed" in finding for finding in findings(versions, None)] == [True]


def test_a_holdout_rule_that_is_not_what_was_signed_is_found(tmp_path: Path) -> None:
    rule = HoldoutRule.of(judged(tmp_path, "p").run.pipeline)
    one = judged(tmp_path, "p", holdout_rule_sha256=digest(rule))
    tags = tags_of(one.run, one.candidate, one.verdict) | crown_tags(one.verdict)
    assert findings(read(tags), None) == []
    tags["noria.holdout"] = rule.model_copy(update={"salt": "mine"}).model_dump_json()
    (finding,) = findings(read(tags), None)
    assert "noria.holdout was removed or changed" in finding


def test_a_first_champion_follows_nobody_and_an_old_version_has_no_rule(tmp_path: Path) -> None:
    one = judged(tmp_path, "p")
    tags = tags_of(one.run, one.candidate, one.verdict)
    assert "" not in tags.values()  # not every back end keeps empty ones
    del tags["noria.holdout"], tags["noria.training_rows"]
    (version,) = read(tags).history
    assert version.previous_champion is None and version.holdout is None and version.training_rows is None


def test_a_version_from_before_there_were_verdicts_is_shown_and_proves_nothing(tmp_path: Path) -> None:
    one = judged(tmp_path, "p")
    tags = tags_of(one.run, one.candidate, one.verdict) | {"noria.verdict": "promote"}
    versions = read(tags)
    assert versions.champion is None and versions.challenger is None
    assert [v.verdict for v in versions.history] == [None]


@pytest.mark.parametrize(
    ("changes", "proven"),
    [({}, True), ({"run_id": "r2"}, False), ({"pipeline": "q"}, False), ({"model_sha256": "0"}, False)],
)
def test_a_genuine_verdict_on_something_else_proves_nothing(
    tmp_path: Path, changes: dict[str, Any], proven: bool
) -> None:
    """It was copied from another version by hand: the signature is right, what it is about is not."""
    one = judged(tmp_path, "p")
    tags = tags_of(one.run, one.candidate, one.verdict) | crown_tags(one.verdict)
    tags |= crown_tags(one.but(**changes).verdict)
    assert (read(tags).champion is not None) is proven


def test_the_champion_has_the_highest_signed_number(tmp_path: Path) -> None:
    stored = []
    for version, sequence in (("1", 3), ("2", 2), ("10", 1)):
        one = judged(tmp_path, "p", f"r{version}", sequence)
        stored.append(Stored(version, tags_of(one.run, one.candidate, one.verdict) | crown_tags(one.verdict), NOW))
    tags = dict(stored[2].tags)
    tags["noria.crown"] = json.dumps({**json.loads(tags["noria.crown"]), "sequence": 9})
    versions = Versions("p", [*stored[:2], Stored("10", tags, NOW)], KEYRING)
    assert [v.version for v in versions.history] == ["10", "2", "1"]
    assert [v.version for v in versions.history if v.is_champion] == ["1"]
    assert versions.next_sequence == 4
