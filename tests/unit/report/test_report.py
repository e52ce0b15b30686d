"""The pages: complete, self-contained, and harmless whatever came with the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from noria.gate import KINDS
from noria.records import Decision, Failure, Histogram, SignedVerdict, Verdict
from noria.report import Document, render_data_docs, render_report
from noria.report.charts import champion_line, compare_models, histogram_bars, learning_curve
from tests.support import judged, story
from tests.support.elements import Elements
from tests.support.pipelines import students

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.fixture
def document() -> Document:
    return story.document(students())


def _pages(document: Document) -> list[str]:
    assert document.snapshot and document.validation
    return [render_report(document), render_data_docs(document.run, document.snapshot, document.validation)]


def test_pages_load_nothing_and_run_nothing(document: Document) -> None:
    for page in _pages(document):
        found = Elements(page).elements
        assert not [tag for tag, _ in found if tag in ("script", "link", "img", "iframe", "object", "embed", "form")]
        for tag, attributes in found:
            assert not [name for name in attributes if name.startswith("on")], tag
            if tag != "a":
                assert not {"src", "href", "srcset", "data"} & set(attributes), (tag, attributes)
        style = page.partition("<style>")[2].partition("</style>")[0]
        assert "url(" not in style
        assert "@import" not in style


def test_the_report_is_small(document: Document) -> None:
    assert len(render_report(document).encode()) < 200_000


def test_no_name_turns_the_direction_of_what_follows(document: Document) -> None:
    turned = judged.decision(rules=(judged.rule("rows", name="a\u202egpj.b\u2066c\u200f", detail="d"),))
    page = render_report(replace(document, decision=turned))
    assert "agpj.bc" in page
    assert not set(page) & set("\u202e\u2066\u200f")


def evil_decision() -> Decision:
    """Everything in it that is text is hostile."""
    decision = judged.STATES["slice_fails"]()
    assert decision.comparison
    text = {"name": EVIL, "detail": EVIL, "needed": EVIL, "kind": "registry", "passed": False}
    intervals = tuple(i.model_copy(update={"method": EVIL}) for i in decision.comparison.intervals)
    return decision.model_copy(
        update={
            "rules": tuple(r.model_copy(update=text) for r in decision.rules),
            "reasons": (EVIL,),
            "slices": tuple(s.model_copy(update={"column": EVIL, "value": EVIL}) for s in decision.slices),
            "comparison": decision.comparison.model_copy(update={"intervals": intervals}),
            "approval": judged.approval(approved=True).model_copy(update={"by": EVIL, "reason": EVIL}),
            "forced": EVIL,
            "verdict_id": EVIL,
            "previous_champion": EVIL,
            "champion_version": EVIL,
            "registered_version": EVIL,
        }
    )


def test_whatever_came_with_the_data_is_text(document: Document) -> None:
    assert document.snapshot and document.validation and document.profile and document.candidate and document.decision
    columns = tuple(c.model_copy(update={"name": EVIL, "top": ((EVIL, 1),)}) for c in document.profile.columns[:1])
    results = tuple(
        r.model_copy(update={"observed": EVIL, "expected": EVIL, "column": EVIL}) for r in document.validation.results
    )
    pipeline = document.run.pipeline
    evil = replace(
        document,
        run=document.run.model_copy(
            update={
                "pipeline": pipeline.model_copy(
                    update={
                        "description": EVIL,
                        "columns": (pipeline.columns[0].model_copy(update={"name": EVIL, "unit": EVIL}),),
                    }
                )
            }
        ),
        snapshot=document.snapshot.model_copy(update={"source": EVIL, "quarantine_reasons": {EVIL: 2}}),
        quarantine=((EVIL, EVIL, EVIL, EVIL),),
        validation=document.validation.model_copy(update={"results": results}),
        profile=document.profile.model_copy(update={"columns": columns}),
        candidate=document.candidate.model_copy(update={"params": {EVIL: EVIL}, "cluster": EVIL}),
        decision=evil_decision(),
        ledger=tuple(
            e.model_copy(update={"by": EVIL, "reasons": (EVIL,), "champion_after": EVIL}) for e in document.ledger
        ),
        ledger_problem=EVIL,
        ledger_findings=(EVIL,),
        failure=Failure(stage="promote", error=EVIL, message=EVIL, retryable=False, exit_code=1, failed_at=judged.NOW),
        history_problem=EVIL,
    )
    for page in _pages(evil):
        found = Elements(page)
        assert "alert(1)" in found.text
        assert not [tag for tag, attributes in found.elements if tag in ("script", "img") or "onerror" in attributes]


@pytest.mark.parametrize(
    ("verdict", "headline", "sentence"),
    [
        ("promote", "Promoted", "Version 3 is the new champion."),
        ("keep", "Champion kept", "The candidate is worse than the champion: R² 0.852 against 0.858"),
        ("reject", "Rejected", "It does not reach a bound that the policy sets: r2 0.71 is not at least 0.8."),
    ],
)
def test_the_verdict_comes_first_in_words(verdict: Verdict, headline: str, sentence: str) -> None:
    text = Elements(render_report(story.document(students(), verdict=verdict))).text
    places = [text.index(part) for part in (headline, sentence, "Better, or lucky?", "What decided", "Quarantine")]
    assert places == sorted(places)


def test_a_champion_that_saw_part_of_the_holdout_and_a_stopped_search(document: Document) -> None:
    assert document.decision and document.candidate
    part = {"compared_rows": 83, "compared_metrics": document.decision.candidate_metrics}
    changed = replace(
        document,
        decision=document.decision.model_copy(update=part),
        candidate=document.candidate.model_copy(update={"stopped_by": "cap"}),
    )
    text = " ".join(Elements(render_report(changed)).text.split())
    assert "the champion before, on the 83 rows that neither has seen" in text
    assert "the candidate on these 83 rows" in text
    assert "The search was stopped by its cap (tuning.max_vcpu_seconds)" in text


@pytest.mark.parametrize("name", judged.STATES)
def test_every_picture_says_in_words_what_it_shows(name: str, document: Document) -> None:
    page = render_report(replace(document, decision=judged.STATES[name]()))
    found = Elements(page).elements
    pictures = [a for _, a in found if a.get("role") == "img"]
    assert pictures
    assert all(a.get("aria-label") for a in pictures)


def test_a_group_of_rows_says_in_words_how_it_fared(document: Document) -> None:
    failing = replace(document, decision=judged.STATES["slice_fails"]())
    text = " ".join(Elements(render_report(failing)).text.split())
    assert text.index("group C race ethnicity · 96 rows") < text.index("standard lunch · 192 rows"), "the failed first"
    for part in (
        "−0.09 ✗ fails",
        "+0.012 ✓ holds",
        "+0.02 too few rows",
        "race ethnicity may be worse by 0.05.",
    ):
        assert part in text, part
    first = " ".join(Elements(render_report(replace(document, decision=judged.STATES["first"]()))).text.split())
    assert "By group of rows" in first
    assert "may be worse by" not in first.partition("What decided")[0].rpartition("By group")[2]


def test_rules_that_fail_come_first_and_are_never_folded(document: Document) -> None:
    page = render_report(replace(document, decision=judged.rejected_by("registry")))
    rules = page.partition("What decided")[2]
    shown, _, folded = rules.partition("<details>")
    assert "✗</span>" in shown
    assert "rule of registry" in shown
    assert "✗</span>" not in folded.partition("</details>")[0]
    assert f"{len(KINDS) - 2} more hold: " in folded, "all but the failed one and the champion's"


def test_many_groups_of_rows_are_folded(document: Document) -> None:
    some = judged.slices()[0]
    groups = tuple(some.model_copy(update={"value": f"value {i}"}) for i in range(40))
    page = render_report(replace(document, decision=judged.decision(slices=groups)))
    assert "and 24 more" in page
    assert all(f"value {i}<" in page for i in range(40))


def test_the_history_says_who_did_what_and_why(document: Document) -> None:
    newest, *older = document.history
    verdict = SignedVerdict(
        id="0" * 32, action="rollback", pipeline="students", run_id="r", model_sha256=judged.SHA,
        holdout_sha256=judged.SHA, policy_sha256=judged.SHA, snapshot_id="s", code="c", sequence=4,
        previous_champion="4", by="ada", reason="winter was right after all", issued_at=judged.NOW,
    )  # fmt: skip
    told = replace(document, history=(newest.model_copy(update={"verdict": verdict}), *older))
    text = " ".join(Elements(render_report(told)).text.split()).partition("Who became champion, and why")[2]
    places = [
        text.index(part)
        for part in (
            "Promoted version 2 → version 3 by gate r2 is better by 0.006, and by more than luck",
            "Champion kept version 2 stays by gate r2 is better by 0.005, which luck can explain",
            "Rolled back version 4 → version 2 by ada winter was right after all",
            "Promoted by force version 2 → version 4 by grace the old model is wrong about winter",
            "Promoted none → version 1 by gate there was no champion",
            "What the registry holds",
            "Version 3 champion",
            "ada, winter was right after all",
        )
    ]
    assert places == sorted(places), "the newest first"


def test_a_long_history_is_cut(document: Document) -> None:
    text = " ".join(Elements(render_report(replace(document, ledger=document.ledger * 3))).text.split())
    assert "and 9 earlier decisions" in text


def test_every_figure_has_its_place(document: Document) -> None:
    text = " ".join(Elements(render_report(document)).text.split())
    for part in (
        "github://octo/data/students.csv@main",
        "9b1c" * 10,
        judged.SHA,
        "math_score: not a whole number",
        "missing: group E",
        "Share that passed all three (60 points or more)",
        "57.0%",
        "Random forest",
        "No model (dummy)",
        "off this scale",
        "Does more data help?",
        "Version 1",
        "2 Dask workers of 1 thread on this machine",
        "36.0 s in all",
        "410 MB",
    ):
        assert part in text, part


@pytest.mark.parametrize("stage", ["ingest", "validate", "explore", "train", "promote"])
def test_a_run_that_stopped_says_where_and_why(document: Document, stage: str) -> None:
    order = ["ingest", "validate", "explore", "train", "promote"]
    reached = order[: order.index(stage)]
    fields = {"ingest": "snapshot", "explore": "profile", "train": "candidate", "promote": "decision"}
    missing: dict[str, Any] = {fields[s]: None for s in order if s not in reached and s in fields}
    stopped = replace(
        document,
        stages={s: e for s, e in document.stages.items() if s in reached},
        validation=document.validation if "validate" in reached else None,
        quarantine=(),
        history=(),
        failure=Failure(
            stage=stage, error="StorageError", message="disk full", retryable=True, exit_code=1, failed_at=judged.NOW
        ),
        **missing,
    )
    text = " ".join(Elements(render_report(stopped)).text.split())
    assert f"Stopped at {stage}" in text
    assert "StorageError: disk full" in text
    assert f"✗ {stage}" in text
    for done in reached:
        assert f"✓ {done}" in text


def test_a_run_without_any_stage_has_a_page(document: Document) -> None:
    page = render_report(Document(run=document.run, written_at=judged.NOW, stages={}))
    assert "No verdict yet" in page


def test_a_registry_in_trouble_is_told(document: Document) -> None:
    assert "no such table" in render_report(replace(document, history=(), history_problem="no such table"))


def test_undefined_figures_are_shown_as_such(document: Document) -> None:
    assert document.profile
    bare = document.profile.columns[-1].model_copy(
        update={"mean": None, "sd": None, "min": None, "max": None, "quantiles": {}, "histogram": None, "distinct": 0}
    )
    matrix = ((1.0, None), (None, None))
    profile = document.profile.model_copy(
        update={
            "columns": (*document.profile.columns[:-1], bare),
            "correlation_columns": ("math_score", "writing_score"),
            "correlation": matrix,
            "answers": (document.profile.answers[0].model_copy(update={"value": None}),),
        }
    )
    assert '<td class="none">–</td>' in render_report(replace(document, profile=profile))


def test_models_stand_in_order_on_the_scale_of_the_contenders() -> None:
    rows, scale = compare_models(story.candidate(students()))
    assert [r.name for r in rows] == ["ridge", "linear", "xgboost", "gradient_boosting", "random_forest", "dummy"]
    assert [r.name for r in rows if r.chosen] == ["ridge"]
    assert [r.name for r in rows if r.baseline] == ["linear", "dummy"]
    assert [r.name for r in rows if r.beyond] == ["dummy"]
    assert 0.75 < scale.low < 0.82
    dots = [r.dot for r in rows if not r.beyond and r.dot is not None]
    assert dots == sorted(dots, reverse=True)


def test_an_error_is_better_the_smaller_it_is() -> None:
    candidate = story.candidate(students()).model_copy(update={"primary_metric": "mae"})
    rows, _ = compare_models(candidate)
    assert rows[0].name == "ridge"
    assert rows[-1].name == "dummy"


def test_bars_of_a_histogram_fill_the_drawing() -> None:
    bars = histogram_bars(Histogram(edges=(0, 5, 10), counts=(2, 4)), whole=True)
    assert [(b.x, b.width, b.height) for b in bars] == [(0, 50, 50), (50, 50, 100)]
    assert [b.title for b in bars] == ["0 to 4: 2", "5 to 9: 4"]


def test_lines_need_points() -> None:
    assert learning_curve((), "r2") is None
    assert champion_line(story.history()[:1], "r2") is None
    line = champion_line(story.history(), "r2")
    assert line
    assert [p[2] for p in line.points] == ["v1", "v2", "v3"]
    heights = [p[1] for p in line.points]
    assert heights == sorted(heights, reverse=True)
