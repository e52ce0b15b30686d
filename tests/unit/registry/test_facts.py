"""The tags of a version: read back as they were written, and never longer than a back end keeps."""

from datetime import UTC, datetime

import pytest

from noria.gate import Champion, decide
from noria.pipeline import Gate
from noria.records import HoldoutRule, Run
from noria.registry.facts import LONGEST, tags_of, version_of
from tests.support.candidates import R2
from tests.support.learning import pipeline

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_run(columns: int) -> Run:
    few = pipeline()
    more = [{"name": f"column_number_{i:04d}", "type": "number"} for i in range(columns)]
    document = [c.model_dump(mode="json", exclude_none=True) for c in few.columns] + more
    return Run(run_id="r", pipeline=pipeline(columns=document), code="c", created_at=NOW)


@pytest.mark.parametrize("columns", [0, 20, 21, 22, 23, 24, 25, 26, 27, 28, 200])
def test_a_rule_of_many_columns_comes_back(columns: int) -> None:
    run = a_run(columns)
    tags = tags_of(run, R2, decide(R2, Champion("7", metrics={"r2": 0.1}), Gate()))
    assert max(map(len, tags.values())) <= LONGEST and len(tags) < 50
    version = version_of("8", tags, NOW, is_champion=True)
    assert version.holdout == HoldoutRule.of(run.pipeline)
    assert (version.metrics, version.run_id, version.previous_champion) == (R2.metrics, "r", "7")


def test_a_first_champion_follows_nobody_and_an_old_version_has_no_rule() -> None:
    tags = tags_of(a_run(0), R2, decide(R2, None, Gate()))
    assert "" not in tags.values()  # not every back end keeps empty ones
    del tags["noria.holdout"]
    version = version_of("1", tags, NOW, is_champion=False)
    assert version.previous_champion is None and version.holdout is None
