"""The report stage on a real registry and a real ledger: the last word on a candidate, and what cannot be read."""

from __future__ import annotations

import json
from typing import Any

from noria.costs.usage import keep_usage
from noria.records import JobUsage, Run
from noria.stages.by_hand import force
from noria.stages.promote import promote
from noria.stages.report import CARD_FILE, report
from noria.workspace import Workspace, run_path
from tests.support.elements import Elements
from tests.support.proposals import PUPILS, WEAK, propose, write_pipeline
from tests.support.runs import done


def read(run: Run, workspace: Workspace) -> tuple[str, dict[str, Any]]:
    """The page's text and the card, as the stage leaves them."""
    page = workspace.lake.read(report(run, workspace).html).decode()
    text = Elements(page.partition("</style>")[2]).text
    return " ".join(text.split()), json.loads(workspace.lake.read(run_path(PUPILS, run.run_id, CARD_FILE)))


def judged(workspace: Workspace, **changes: Any) -> Run:
    """A run with its decision."""
    run = propose(workspace, **changes)
    done(workspace, run, "promote", promote(run, workspace))
    return run


def test_a_report_tells_what_became_of_a_candidate_and_of_those_before_it(workspace: Workspace) -> None:
    first = judged(workspace, gate__slices="[{column: lunch, margin: 0.05}]")
    page, card = read(first, workspace)
    assert "cost so far" not in page
    usage = {"wall_seconds": 50, "cpu_seconds": 60, "peak_rss_bytes": 1, "vcpu_seconds": 75_000}
    job = {"stage": "train", "outcome": "done", "started_at": first.created_at, "finished_at": first.created_at}
    used = {**job, "pipeline": PUPILS, "run_id": first.run_id, "usage": usage}
    keep_usage(JobUsage.model_validate(used), workspace.lake)
    page, card = read(first, workspace)
    assert "What it cost so far: about 1.00 USD by the price sheet; 75000 vCPU-seconds held, 60 of them used." in page
    assert (card["state"], card["champion_version"], card["verdict_id"]) == ("first", "1", _verdict(workspace))
    assert page.index("First champion") < page.index("By group of rows") < page.index("What decided")

    worse = judged(workspace, trained_on=WEAK)
    page, card = read(worse, workspace)
    assert (card["state"], card["previous_champion"], card["problems"]) == ("kept", "1", [])
    assert card["comparison"]["intervals"][0]["improvement"] < 0
    assert card["sentences"][0] in page
    assert "Champion kept version 1 stays by gate" in page
    assert "Promoted by force" not in page

    # A person's word comes after the gate's, in the run's own report and in every later one.
    force(worse, workspace, by="grace", reason="the other one is wrong about winter")
    page, card = read(worse, workspace)
    assert (card["state"], card["champion_version"]) == ("forced", "2")
    assert card["forced"] == "grace: the other one is wrong about winter"
    later = judged(workspace)
    page, card = read(later, workspace)
    assert card["forced_versions"] == [{"version": "2", "reason": "grace: the other one is wrong about winter"}]
    assert page.index("Promoted by force Version 2: grace: the other one is wrong about winter") < page.index(
        "Promoted V"
    )
    assert "Promoted by force version 1 → version 2 by grace" in page


def test_whom_a_candidate_waits_for_is_what_run_and_folder_both_say(workspace: Workspace) -> None:
    write_pipeline(workspace.settings.home / "pipelines", {"approval": {"approvers": ["ada", "grace"]}})
    run = judged(workspace, gate__approval="{approvers: [mallory, ada], timeout_hours: 720}")
    page, _ = read(run, workspace)
    assert "It waits for ada, at most 24 hours" in page


def _verdict(workspace: Workspace) -> str:
    verdict = workspace.registry.history(PUPILS)[0].verdict
    assert verdict
    return verdict.id


def test_a_registry_and_a_ledger_that_cannot_be_read_or_believed_are_told_and_hide_nothing_else(
    workspace: Workspace,
) -> None:
    run = judged(workspace)
    key = workspace.settings.home / "keys" / "verdicts.key"
    key.write_text("0" * 64 + "\n")
    page, card = read(run, Workspace.open(workspace.settings))
    assert any("signed with the key" in problem for problem in card["problems"])
    key.write_text("short\n")
    page, card = read(run, Workspace.open(workspace.settings))
    registry, ledger = card["problems"]
    assert registry.startswith("The registry could not be read: ")
    assert ledger.startswith("The ledger could not be read: ")
    for problem in card["problems"]:
        assert "damaged" in problem
        assert " ".join(problem.split()) in page
    assert card["state"] == "first"


def test_a_run_without_a_decision_has_a_page_and_no_card(workspace: Workspace) -> None:
    run = propose(workspace)
    page = workspace.lake.read(report(run, workspace).html).decode()
    assert "No verdict yet" in page
    assert not workspace.lake.exists(run_path(PUPILS, run.run_id, CARD_FILE))
