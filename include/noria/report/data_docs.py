"""Data Docs that need no network: Great Expectations' own load their style from the web and are bare without it."""

from __future__ import annotations

from noria.records import Run, Snapshot, ValidationReport


def render_data_docs(run: Run, snapshot: Snapshot, validation: ValidationReport) -> str:
    """A page with every expectation, what was expected and what was observed, column by column."""
    from noria.report.page import templates

    groups: dict[str, list[object]] = {}
    for result in validation.results:
        groups.setdefault(result.column or "The table", []).append(result)
    return (
        templates()
        .get_template("data_docs.html.j2")
        .render(run=run, pipeline=run.pipeline, snapshot=snapshot, validation=validation, groups=groups)
    )
