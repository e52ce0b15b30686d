"""The pages: complete, self-contained, and harmless whatever came with the data."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from noria.records import Failure, Histogram
from noria.report import Document, render_data_docs, render_report
from noria.report.charts import champion_line, compare_models, histogram_bars, learning_curve
from tests.support import story
from tests.support.pipelines import students

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


class Elements(HTMLParser):
    """Elements with their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


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
        decision=document.decision.model_copy(update={"reasons": (EVIL,)}),
        failure=Failure(stage="promote", error=EVIL, message=EVIL, retryable=False, exit_code=1, failed_at=story.NOW),
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
        ("keep", "Champion kept", "The candidate is not better; version 2 stays in use."),
        ("reject", "Rejected", "A required rule failed; version 2 stays in use."),
    ],
)
def test_the_verdict_comes_first_in_words(verdict: str, headline: str, sentence: str) -> None:
    text = Elements(render_report(story.document(students(), verdict=verdict))).text
    assert text.index(headline) < text.index(sentence) < text.index("What decided") < text.index("Quarantine")


def test_a_dry_run_says_so(document: Document) -> None:
    assert document.decision
    dry = replace(document, decision=document.decision.model_copy(update={"dry_run": True, "champion_version": None}))
    text = Elements(render_report(dry)).text
    assert "Promoted (dry run)" in text
    assert "leaves the registry as it is" in text


def test_a_champion_that_saw_part_of_the_holdout_a_late_retry_and_a_stopped_search(document: Document) -> None:
    assert document.decision and document.candidate
    late = {"verdict": "promote", "registered_version": "2", "champion_version": "3"}
    part = {"compared_rows": 83, "compared_metrics": document.decision.candidate_metrics}
    changed = replace(
        document,
        decision=document.decision.model_copy(update={**late, **part}),
        candidate=document.candidate.model_copy(update={"stopped_by_time": True}),
    )
    text = " ".join(Elements(render_report(changed)).text.split())
    assert "Version 2 is registered, but came too late: version 3 stays in use." in text
    assert "the champion before, on the 83 rows that neither has seen" in text
    assert "the candidate on these 83 rows" in text
    assert "The search was stopped by time" in text


def test_every_figure_has_its_place(document: Document) -> None:
    text = " ".join(Elements(render_report(document)).text.split())
    for part in (
        "github://octo/data/students.csv@main",
        "9b1c" * 10,
        story.SHA,
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
    missing = {fields[s]: None for s in order if s not in reached and s in fields}
    stopped = replace(
        document,
        stages={s: e for s, e in document.stages.items() if s in reached},
        validation=document.validation if "validate" in reached else None,
        quarantine=(),
        history=(),
        failure=Failure(
            stage=stage, error="StorageError", message="disk full", retryable=True, exit_code=1, failed_at=story.NOW
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
    page = render_report(Document(run=document.run, written_at=story.NOW, stages={}))
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
