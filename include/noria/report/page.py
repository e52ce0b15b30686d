"""Templates with escaping always on: what came with the data is shown and never becomes part of the page."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from noria.records import STAGES
from noria.report import charts, formats
from noria.report.document import Document

if TYPE_CHECKING:
    from jinja2 import Environment


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
    )
    filters = (
        formats.number,
        formats.answer,
        formats.metric,
        formats.metric_name,
        formats.short_metric_name,
        formats.estimator_name,
        formats.size,
        formats.seconds,
        formats.moment,
    )
    environment.filters.update({f.__name__: f for f in filters})
    return environment


def render_report(document: Document) -> str:
    """The page of one run."""
    candidate, pipeline = document.candidate, document.run.pipeline
    models, scale = charts.compare_models(candidate) if candidate else ([], None)
    metric = pipeline.primary_metric
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            document=document,
            run=document.run,
            pipeline=pipeline,
            metric=metric,
            stages=STAGES,
            models=models,
            scale=scale,
            curve=charts.learning_curve(candidate.learning_curve, metric) if candidate else None,
            champions=charts.champion_line(document.history, metric),
            histogram_bars=charts.histogram_bars,
            width=charts.WIDTH,
            height=charts.HEIGHT,
        )
    )
