"""Write the run's page from its records, however far the run got."""

from __future__ import annotations

import csv
import itertools
import logging
from typing import NamedTuple

from noria.costs.of_run import run_use
from noria.errors import SpecError
from noria.pipeline import ApprovalPolicy
from noria.records import (
    Candidate,
    ChampionVersion,
    Failure,
    LedgerEntry,
    Profile,
    Report,
    Run,
    Snapshot,
    stages_of,
)
from noria.report import Document, render_report
from noria.stages.validate import find_validation
from noria.workspace import Workspace, run_path

log = logging.getLogger(__name__)
CARD_FILE = "report/card.json"
"""The promotion card for programs; noria.report.card says what its keys mean."""
_QUARANTINE_ROWS = 10


def report(run: Run, workspace: Workspace) -> Report:
    """Render `report/report.html`, and `report/card.json` where there is a decision.

    A stage that has not run, or a registry or a ledger that cannot be read, is told there.
    """
    log.info("gathering what the run has left")
    html = run_path(run.pipeline.name, run.run_id, "report/report.html")
    document = gather(run, workspace)
    page = render_report(document).encode()
    if document.card is not None:
        workspace.lake.replace(run_path(run.pipeline.name, run.run_id, CARD_FILE), document.card.to_bytes())
    workspace.lake.replace(html, page)
    log.info("%s: %s (%d kB)", document.headline, workspace.lake.url(html), len(page) // 1000)
    return Report(html=html)


def gather(run: Run, workspace: Workspace) -> Document:
    """All that the run has left in the lake."""
    snapshot = workspace.find(run, "ingest", Snapshot)
    validation = find_validation(run, workspace)
    history, problem = _history(run, workspace)
    ledger = _ledger(run, workspace)
    folder = run_path(run.pipeline.name, run.run_id, "")
    use = run_use(run, workspace)
    return Document(
        run=run,
        written_at=workspace.clock(),
        stages={s: e for s in stages_of(run.pipeline) if s != "report" and (e := workspace.stage_run(run, s))},
        failure=_failure(run, workspace),
        snapshot=snapshot,
        quarantine=_quarantine(snapshot, workspace),
        validation=validation,
        data_docs="../" + validation.docs.removeprefix(f"{folder}/") if validation else None,
        profile=workspace.find(run, "explore", Profile),
        candidate=workspace.find(run, "train", Candidate),
        decision=workspace.decision(run),
        history=history,
        history_problem=problem,
        ledger=ledger.entries,
        ledger_problem=ledger.problem,
        ledger_findings=ledger.findings,
        policy=waited_for(run, workspace),
        price=use.price if use else None,
        use=use.words if use else None,
    )


def waited_for(run: Run, workspace: Workspace) -> ApprovalPolicy | None:
    """Who has to agree to the run's candidate, and how long there is; what the run says where the folder is wrong."""
    try:
        return workspace.approval_policy(run)
    except SpecError as error:  # it stops the promotion, and must not hide what the run did
        log.warning("what the pipeline's folder asks for cannot be read: %s", error)
        return run.pipeline.gate.approval


def _failure(run: Run, workspace: Workspace) -> Failure | None:
    """The run's failure; an earlier try of this very stage does not count."""
    failure = workspace.failure(run)
    return None if failure is None or failure.stage == "report" else failure


def _quarantine(snapshot: Snapshot | None, workspace: Workspace) -> tuple[tuple[str, str, str, str], ...]:
    if snapshot is None or snapshot.quarantine is None:
        return ()
    with workspace.lake.local(snapshot.quarantine) as file, file.open(encoding="utf-8", newline="") as lines:
        rows = itertools.islice(csv.DictReader(lines), _QUARANTINE_ROWS)
        return tuple((r["row"], r["column"], r["value"], r["reason"]) for r in rows)


def _history(run: Run, workspace: Workspace) -> tuple[tuple[ChampionVersion, ...], str | None]:
    try:
        return tuple(workspace.registry.history(run.pipeline.name)), None
    except Exception as error:  # a registry in trouble must not hide what the run did
        log.warning("the registry's history cannot be read: %s", error)
        return (), f"{type(error).__name__}: {error}"


class _Ledger(NamedTuple):
    entries: tuple[LedgerEntry, ...] = ()
    findings: tuple[str, ...] = ()
    problem: str | None = None


def _ledger(run: Run, workspace: Workspace) -> _Ledger:
    try:
        ledger = workspace.ledger(run.pipeline.name)
        return _Ledger(tuple(ledger.entries()), tuple(ledger.audit()))
    except Exception as error:  # as above
        log.warning("the ledger cannot be read: %s", error)
        return _Ledger(problem=f"{type(error).__name__}: {error}")
