"""The card: every state in words, and the same facts in plain text, as JSON and on the page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from noria.gate import KINDS
from noria.pipeline import ApprovalPolicy, Pipeline
from noria.records import Decision
from noria.report import Card, card, render_report
from noria.report.formats import metric, number, signed
from tests.support import judged, story
from tests.support.elements import Elements
from tests.support.pipelines import students

RUN = "20260504T050000Z-4fd2a1"
KEYS = {
    "pipeline", "run_id", "estimator", "state", "verdict", "headline", "sentences", "metric", "margin",
    "candidate_metrics", "champion_metrics", "rules", "comparison", "slices", "luck", "leaked", "needed", "approval",
    "waiting", "dry_run", "forced", "forced_versions", "rollback", "findings", "problems", "verdict_id",
    "policy_sha256", "previous_champion", "registered_version", "champion_version",
}  # fmt: skip


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    found = students()
    gate = found.gate.model_copy(update={"approval": ApprovalPolicy(timeout_hours=12, approvers=("ada", "grace"))})
    return found.model_copy(update={"gate": gate})


def card_of(decision: Decision, pipeline: Pipeline) -> Card:
    return card(decision, story.candidate(pipeline), pipeline, run_id=RUN, history=story.history())


def page_of(decision: Decision, pipeline: Pipeline) -> str:
    return render_report(replace(story.document(pipeline), decision=decision))


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("name", "state", "headline", "sentence"),
    [
        ("first", "first", "First champion", "There was no champion to beat; it meets every required rule."),
        ("promoted", "promoted", "Promoted", "It is better than version 2, and by more than luck explains: R² 0.864"),
        ("approved", "promoted", "Promoted", "Version 3 is the new champion."),
        ("kept_by_luck", "kept", "Champion kept", "The candidate is better, but not by more than luck explains:"),
        ("kept_worse", "kept", "Champion kept", "The candidate is worse than the champion: R² 0.832 against 0.858"),
        ("kept_not_better", "kept", "Champion kept", "The candidate is not better than the champion: R² 0.855"),
        ("kept_alike", "kept", "Champion kept", "The candidate does exactly as well as the champion: R² 0.858"),
        ("unscorable", "kept", "Champion kept", "The champion could not be compared with the candidate, and that is"),
        ("undefined", "kept", "Champion kept", "Which of the two is better cannot be told: R² 0.864 against undefined"),
        ("rejected", "rejected", "Rejected", "It does not reach a bound that the policy sets: r2 0.71 is not at"),
        ("slice_fails", "rejected", "Rejected", "It does worse than the champion for a group of rows that must not"),
        ("waiting", "waiting", "Waiting for approval", "Version 2 stays in use until then."),
        ("declined", "declined", "Declined", "The gate said promote, and it was not approved."),
        ("changed_meanwhile", "kept", "Champion kept", "Version 4 was promoted meanwhile."),
        ("forced", "forced", "Promoted by force", "A person made it the champion, version 3, though the gate rejected"),
        ("dry_run", "dry_run", "Would be promoted (dry run)", "A dry run leaves the registry as it is: version 2."),
        ("late", "late", "Too late", "Version 2 is registered, but came too late."),
    ],
)
def test_every_state_is_told_in_words(name: str, state: str, headline: str, sentence: str, pipeline: Pipeline) -> None:
    found = card_of(judged.STATES[name](), pipeline)
    assert (found.state, found.headline) == (state, headline)
    assert any(said.startswith(sentence) for said in found.sentences), found.sentences
    assert 1 <= len(found.sentences) <= 4


def test_no_state_is_left_out(pipeline: Pipeline) -> None:
    from noria.report.wording import STATES

    assert {card_of(make(), pipeline).state for make in judged.STATES.values()} == set(STATES)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "champion"])
def test_each_kind_of_rule_rejects_in_words_of_its_own(kind: str, pipeline: Pipeline) -> None:
    found = card_of(judged.rejected_by(kind), pipeline)
    assert found.state == "rejected"
    assert found.sentences[0].endswith(f": what {kind} found.")
    assert not found.sentences[0].startswith("A required rule failed")
    assert found.needed == (f"rule of {kind}: {kind} in order",)
    assert found.findings == (("what registry found",) if kind == "registry" else ())


def test_who_stays_and_the_margin_of_the_stricter_policy(pipeline: Pipeline) -> None:
    strict = judged.rule("champion", passed=False, name="of the folder", limit=0.02, detail="better by 0.006 only")
    decision = judged.decision(
        "keep", rules=(*judged.rules(), strict), comparison=judged.comparison(0.864, 0.858, 0.004)
    )
    found = card_of(decision, pipeline)
    assert found.margin == 0.02
    assert found.sentences[0].startswith("The candidate is better, but not by the 0.02 that the policy asks for: ")
    none_yet = card_of(judged.rejected_by("rows").model_copy(update={"champion_version": None}), pipeline)
    assert none_yet.sentences[-1] == "There is still no champion."


def test_a_policy_that_only_advises_to_beat_the_champion(pipeline: Pipeline) -> None:
    rules = tuple(r.model_copy(update={"required": False}) for r in judged.rules(champion=False, better=-0.02))
    decision = judged.decision(rules=rules, comparison=judged.comparison(0.838, 0.858, 0.01))
    found = card_of(decision, pipeline)
    assert found.state == "promoted"
    assert "The candidate is worse than the champion" in found.sentences[1]
    assert found.sentences[2] == "The policy only advises that it beats the champion."
    assert found.needed_title == "What the policy advises besides"
    bare = card_of(decision.model_copy(update={"comparison": None}), pipeline)
    assert bare.sentences[1] == "It was not compared with the champion, and the policy does not insist on that."


def test_luck_in_words(pipeline: Pipeline) -> None:
    found = card_of(judged.STATES["kept_by_luck"](), pipeline)
    assert found.luck == (
        "With 270 rows an improvement of 0.0126 R² would have been seen in 4 of 5 cases.",
        "A model that is no better would have done as well in 21 % of such comparisons.",
        "It is the 3rd candidate judged against this champion on these rows, "
        "so the chance of error was cut from 5 % to 0.34 %.",
        "About 1,240 rows would show the difference that was found.",
    )
    assert found.leaked == (
        "28 rows of the holdout were left out, because one of the two models has seen them; 270 remain."
    )
    first = card_of(judged.decision(), pipeline)
    assert "with a chance of error of 3 %; those that follow share the rest of 5 %" in first.luck[2]
    assert first.leaked is None
    assert card_of(judged.STATES["first"](), pipeline).luck == ()
    alike = card_of(judged.STATES["kept_alike"](), pipeline)
    assert alike.luck[0] == "The two models answer these rows alike: there is nothing that luck could explain."
    assert "would have been seen" not in " ".join(alike.luck)


def test_luck_is_told_of_the_metric_that_decides(pipeline: Pipeline) -> None:
    comparison = judged.comparison(0.864, 0.858, 0.004)
    others = comparison.model_copy(update={"intervals": comparison.intervals[1:]})
    found = card_of(judged.decision("keep", comparison=others), pipeline)
    assert found.luck == ()
    assert found.sentences[0].startswith("The champion could not be compared")
    assert [i.metric for i in found.intervals] == ["mae", "rmse", "rae", "rse"]


def test_a_card_of_a_candidate_that_waits_says_for_whom_and_what_to_do(pipeline: Pipeline) -> None:
    waits = card_of(judged.STATES["waiting"](), pipeline).approval_text
    assert waits
    assert waits.startswith("It waits for ada, grace, at most 12 hours; after that the champion stays.")
    assert f"noria promote students --run {RUN} --approve --reason TEXT" in waits
    anyone = card_of(judged.STATES["waiting"](), students()).approval_text
    assert anyone
    assert "anyone who may act on the DAG, at most 24 hours" in anyone
    approved = "Approved by ada, 2026-05-04 05:00 UTC, compared with version 2: the groups look right"
    assert card_of(judged.STATES["approved"](), pipeline).approval_text == approved
    declined = "Declined by ada, 2026-05-04 05:00 UTC, compared with version 2: group C needs a look"
    assert card_of(judged.STATES["declined"](), pipeline).approval_text == declined
    late = judged.approval(approved=False).model_copy(update={"by": "nobody", "reason": "no answer within 12 hours"})
    silent = card_of(judged.STATES["declined"]().model_copy(update={"approval": late}), pipeline)
    assert silent.approval_text == "Nobody answered in time, 2026-05-04 05:00 UTC: no answer within 12 hours"


def test_the_way_back_is_told_where_there_is_one(pipeline: Pipeline) -> None:
    back = {name: card_of(make(), pipeline).rollback for name, make in judged.STATES.items()}
    command = "noria rollback students --to 2 --reason TEXT"
    assert {name for name, told in back.items() if told == command} == {"promoted", "approved", "forced"}
    assert {name for name, told in back.items() if told is None} == set(back) - {"promoted", "approved", "forced"}


def facts(found: Card) -> Iterator[tuple[str, str]]:
    """Each fact as plain text and page show it, and as it stands in the JSON."""
    texts = [found.headline, *found.sentences, *found.luck, *found.needed, *found.findings]
    texts += [t for t in (found.leaked, found.verdict_id, found.rollback, found.forced) if t]
    texts += [found.approval.by, found.approval.reason] if found.approval else []
    for rule in found.rules:
        texts += [rule.name, rule.detail, "required" if rule.required else "advisory"]
        numbers = [] if rule.value is None else [v for v in (rule.value, rule.limit) if v is not None]
        yield from ((number(value), f": {json.dumps(value)}") for value in numbers)
    for i in found.intervals:
        texts.append(i.method)
        yield from ((signed(v), _stored(v)) for v in (i.improvement, i.low, i.high))
    for s in found.slices:
        texts.append(s.value)
        yield f"{s.rows:,} rows", f'"rows": {s.rows}'
        if s.improvement is not None:
            yield signed(s.improvement), f'"improvement": {json.dumps(s.improvement)}'
    yield from ((text, json.dumps(text, ensure_ascii=False)) for text in texts)


def _stored(value: float) -> str:
    return json.dumps(value) if math.isfinite(value) else '"NaN"' if math.isnan(value) else 'Infinity"'


@pytest.mark.parametrize("name", judged.STATES)
def test_every_fact_is_in_the_text_in_the_json_and_on_the_page(name: str, pipeline: Pipeline) -> None:
    decision = judged.STATES[name]()
    found = card_of(decision, pipeline)
    lines, stored = "\n".join(found.lines()), found.to_bytes().decode()
    page = page_of(decision, pipeline)
    parsed = Elements(page)
    shown = words(parsed.text + " ".join(v or "" for _, a in parsed.elements for v in a.values()))
    told = list(facts(found))
    assert len(told) > 10
    for text, encoded in told:
        assert text in lines, text
        assert words(text) in shown, text
        assert encoded in stored, encoded
    if found.approval_text:
        assert found.approval_text in lines
        assert found.approval_text in shown
    for s in found.slices:
        assert metric(s.candidate) in shown


@pytest.mark.parametrize("name", judged.STATES)
def test_the_json_has_the_same_keys_always(name: str, pipeline: Pipeline) -> None:
    found = json.loads(card_of(judged.STATES[name](), pipeline).to_bytes(), parse_constant=pytest.fail)
    assert set(found) == KEYS
    assert {"name", "kind", "level", "passed", "value", "limit", "detail", "needed"} == set(found["rules"][0])
    if found["comparison"]:
        assert {"improvement", "low", "high", "detectable", "p_value"} < set(found["comparison"]["intervals"][0])


def test_what_is_no_number_is_a_string_in_the_json(pipeline: Pipeline) -> None:
    found = card_of(judged.STATES["undefined"](), pipeline).to_json()
    interval = found["comparison"]["intervals"][0]
    assert (interval["champion"], interval["low"], interval["high"]) == ("NaN", "-Infinity", "Infinity")


def test_force_is_told_for_ever(pipeline: Pipeline) -> None:
    newest, *others = story.history()
    old = others[0].model_copy(update={"forced": "grace: the old model is wrong about winter"})
    document = replace(story.document(pipeline), history=(newest, old, *others[1:]))
    found = document.card
    assert found
    assert found.forced_versions == (("2", "grace: the old model is wrong about winter"),)
    assert found.to_json()["forced_versions"] == [
        {"version": "2", "reason": "grace: the old model is wrong about winter"}
    ]
    line = "Version 2 was promoted against the gate's verdict: grace: the old model is wrong about winter"
    assert f"  {line}" in found.lines()
    for later in (document, replace(document, decision=None, candidate=None)):
        text = words(Elements(render_report(later)).text)
        assert (
            text.index("Promoted by force") < text.index("Version 2: grace: the old") < text.index(later.sentences[0])
        )
    assert "Promoted by force" not in render_report(story.document(pipeline)).partition('id="history"')[0]


def test_a_forced_candidate_is_told_once(pipeline: Pipeline) -> None:
    decision = judged.STATES["forced"]()
    alone = replace(story.document(pipeline), decision=decision)
    newest, *others = story.history()
    in_registry = replace(alone, history=(newest.model_copy(update={"forced": decision.forced}), *others))
    for document in (alone, in_registry):
        assert document.forced == (("3", "grace: the old model is wrong about winter", True),)
        assert document.card
        heading, lines = document.card.sections()[1]
        assert heading == "FORCED"
        assert lines == [
            "Version 3 was promoted against the gate's verdict: grace: the old model is wrong about winter"
        ]


def test_plain_text_steers_no_terminal_and_stays_on_its_line(pipeline: Pipeline) -> None:
    hostile = "a\x1b[2Jb\nFAIL\u202ec\u2028d"
    decision = judged.decision()
    rules = tuple(r.model_copy(update={"name": hostile, "detail": hostile}) for r in decision.rules)
    slices = tuple(s.model_copy(update={"value": hostile, "column": hostile}) for s in decision.slices)
    found = card_of(decision.model_copy(update={"rules": rules, "slices": slices, "forced": hostile}), pipeline)
    text = found.lines()
    assert not [line for line in text if set(line) & set("\x1b\n\u202e\u2028")]
    assert sum("a [2Jb FAIL c d" in line for line in text) >= len(rules) + len(slices) + 1
    assert found.to_json()["rules"][0]["name"] == hostile


def test_what_could_not_be_read_is_on_the_card(pipeline: Pipeline) -> None:
    document = replace(
        story.document(pipeline),
        history=(),
        history_problem="no such table",
        ledger=(),
        ledger_problem="no such file",
        ledger_findings=("entry 3 was changed",),
    )
    assert document.card
    expected = (
        "The registry could not be read: no such table",
        "The ledger could not be read: no such file",
        "entry 3 was changed",
    )
    assert document.card.problems == expected
    top = words(Elements(render_report(document)).text).partition("What decided")[0]
    for problem in expected:
        assert problem in top
        assert f"  {problem}" in document.card.lines()
