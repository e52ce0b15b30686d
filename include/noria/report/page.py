"""Templates with escaping always on: what came with the data is shown and never becomes part of the page."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from noria.pipeline import greater_is_better
from noria.records import Rule, figures, stages_of
from noria.report import card_charts, charts, formats
from noria.report.card import level
from noria.report.document import Document
from noria.report.wording import slice_outcome

if TYPE_CHECKING:
    from jinja2 import Environment

_MOST_GROUPS = 16
_TURNS = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F))


@cache
def templates() -> Environment:
    """The environment of all pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("noria.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_in_order,
    )
    filters = (
        formats.number,
        formats.answer,
        formats.metric,
        formats.metric_name,
        formats.short_metric_name,
        formats.estimator_name,
        formats.event_name,
        formats.signed,
        figures.percent,
        level,
        slice_outcome,
        formats.size,
        formats.seconds,
        formats.moment,
    )
    environment.filters.update({f.__name__: f for f in filters})
    return environment


def _in_order(value: object) -> object:
    """A value without the characters that turn the direction of writing: they would reorder what follows them."""
    return value.translate(_TURNS) if type(value) is str else value


def render_report(document: Document) -> str:
    """The page of one run."""
    candidate, pipeline, card = document.candidate, document.run.pipeline, document.card
    models, scale = charts.compare_models(candidate) if candidate else ([], None)
    metric = pipeline.primary_metric
    intervals, slices = (card.intervals, card.slices) if card else ((), ())
    rules = card.rules if card else ()
    groups, group_scale = card_charts.slice_rows(slices, next((i for i in intervals if i.metric == metric), None))
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            document=document,
            run=document.run,
            pipeline=pipeline,
            metric=metric,
            higher=greater_is_better(metric),
            stages=[stage for stage in stages_of(pipeline) if stage != "report"],
            card=card,
            rules=sorted(filter(_tells, rules), key=lambda r: (r.passed, not r.required, r.kind != "champion")),
            plain_rules=[rule for rule in rules if not _tells(rule)],
            gauge=card_charts.gauge,
            forest=card_charts.forest(intervals, metric, card.margin if card else 0.0),
            groups=groups,
            group_scale=group_scale,
            most_groups=_MOST_GROUPS,
            margins=sorted({(s.column, s.margin) for s in slices if s.judged}),
            models=models,
            scale=scale,
            curve=charts.learning_curve(candidate.learning_curve, metric) if candidate else None,
            champions=charts.champion_line(document.history, metric),
            histogram_bars=charts.histogram_bars,
            width=charts.WIDTH,
            height=charts.HEIGHT,
        )
    )


def _tells(rule: Rule) -> bool:
    """Whether people look for a rule: it failed, has a picture, or is about the champion."""
    return not rule.passed or rule.kind == "champion" or card_charts.gauge(rule) is not None
