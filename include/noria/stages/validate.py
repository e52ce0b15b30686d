"""Hold the snapshot's table against the suite of expectations; severity decides."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from noria.errors import DataInvalidError
from noria.records import ExpectationResult, Run, Snapshot, ValidationReport
from noria.report.data_docs import render_data_docs
from noria.validation import build_suite, judge
from noria.workspace import Workspace, run_path, to_json

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
VALIDATION_FILE = "validate/validation.json"


def validate(run: Run, workspace: Workspace) -> ValidationReport:
    """Judge the table, and keep what was seen with the run whatever the verdict.

    Raises:
        SpecError: An expectation is wrong or cannot be evaluated.
        DataInvalidError: A critical expectation failed.
    """
    pipeline, lake = run.pipeline, workspace.lake
    snapshot = workspace.require(run, "ingest", Snapshot)
    checks = build_suite(pipeline)
    log.info("%d expectations on %s rows", len(checks), f"{snapshot.rows:,}")
    with lake.local(snapshot.table) as table:
        results, raw = judge(_read(table), pipeline.name, checks)
    report = ValidationReport(
        snapshot_id=snapshot.snapshot_id,
        success=not _failed(results, "critical"),
        results=results,
        docs=run_path(pipeline.name, run.run_id, "validate/data_docs.html"),
    )
    gx_result = run_path(pipeline.name, run.run_id, "validate/great_expectations.json")
    lake.replace(gx_result, json.dumps(raw, indent=2, ensure_ascii=False, default=str).encode())
    lake.replace(report.docs, render_data_docs(run, snapshot, report).encode())
    lake.replace(run_path(pipeline.name, run.run_id, VALIDATION_FILE), to_json(report))
    _tell(results)
    if not report.success:
        raise _invalid(_failed(results, "critical"), workspace.lake.url(report.docs))
    return report


def find_validation(run: Run, workspace: Workspace) -> ValidationReport | None:
    """What validation saw, also where that stopped the run and left no record."""
    try:
        seen = workspace.lake.read(run_path(run.pipeline.name, run.run_id, VALIDATION_FILE))
    except FileNotFoundError:
        return None
    return ValidationReport.model_validate_json(seen)


def _read(table: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    frame: pd.DataFrame = pq.read_table(table).to_pandas(date_as_object=False)
    return frame


def _failed(results: tuple[ExpectationResult, ...], severity: str) -> list[ExpectationResult]:
    return [r for r in results if not r.success and r.severity == severity]


def _tell(results: tuple[ExpectationResult, ...]) -> None:
    for result in results:
        if not result.success:
            level = logging.ERROR if result.severity == "critical" else logging.WARNING
            log.log(level, "%s: %s; %s", result.expectation, result.observed, result.expected)
    log.info("%d of %d expectations hold", sum(r.success for r in results), len(results))


def _invalid(failed: list[ExpectationResult], docs: str) -> DataInvalidError:
    said = "; ".join(f"{r.expectation}: observed {r.observed}, expected: {r.expected.rstrip('.')}" for r in failed)
    what = "1 critical expectation" if len(failed) == 1 else f"{len(failed)} critical expectations"
    return DataInvalidError(f"{what} failed: {said}", remedy=f"See {docs}")
