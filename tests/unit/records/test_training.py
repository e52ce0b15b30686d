"""Records of training that were written before a search could end by its cap."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from noria.records import Candidate, StoppedBy
from noria.settings import Settings
from noria.workspace import Workspace
from tests.support.runs import candidate


@pytest.mark.parametrize(("then", "now"), [(True, "time"), (False, None)])
def test_an_older_candidate_says_what_ended_its_search(tmp_path: Path, then: bool, now: StoppedBy | None) -> None:
    run = Workspace.open(Settings.from_env(home=tmp_path)).create_run("students")
    today = json.loads(candidate(run).model_dump_json())
    assert today.pop("stopped_by") is None
    assert Candidate.model_validate({**today, "stopped_by_time": then}).stopped_by == now
