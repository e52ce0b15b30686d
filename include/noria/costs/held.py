"""What runs under way are still going to cost: held from when one may begin until it has ended.

Runs are judged one after the other, so that of two that begin at the same time the second one finds what the first is
going to cost. The files stand at `budgets/held/<pipeline>/<run_id>.json`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from noria.costs.metering import price_jobs
from noria.costs.sheet import PriceSheet
from noria.costs.usage import usage_of_run
from noria.records import Record, Run
from noria.workspace import Workspace, run_path, to_json

LOCK = "budgets-held"
_FOLDER = "budgets/held"
_LONGEST = timedelta(days=1)
"""A run that has left no report by then has been killed."""


class Held(Record):
    """What a run was expected to cost, all of it."""

    pipeline: str
    run_id: str
    currency: str
    cost: Decimal
    since: datetime


def hold(run: Run, cost: Decimal, currency: str, workspace: Workspace) -> None:
    """Hold what a run that may begin is expected to cost."""
    since = workspace.clock()
    held = Held(pipeline=run.pipeline.name, run_id=run.run_id, currency=currency, cost=cost, since=since)
    workspace.lake.replace(_path(held.pipeline, held.run_id), to_json(held))


def release(run: Run, workspace: Workspace) -> None:
    """Hold nothing for a run any longer, if anything was."""
    workspace.lake.remove(_path(run.pipeline.name, run.run_id))


def held(workspace: Workspace, sheet: PriceSheet, run: Run) -> dict[str, Decimal]:
    """Pipeline -> what its runs under way, but for this one, will cost beyond what they have used already.

    Runs that have ended are released. Amounts in another currency than the sheet's are left out.
    """
    found: dict[str, Decimal] = {}
    for other in _under_way(workspace, run):
        if other.currency == sheet.currency:
            left = max(Decimal(), other.cost - _used(other, workspace, sheet))
            found[other.pipeline] = found.get(other.pipeline, Decimal()) + left
    return found


def _under_way(workspace: Workspace, run: Run) -> Iterator[Held]:
    own = _path(run.pipeline.name, run.run_id)
    for path in list(workspace.lake.list(_FOLDER)):
        if path == own:
            continue
        with contextlib.suppress(FileNotFoundError):
            other = Held.model_validate_json(workspace.lake.read(path))
            is_over = workspace.lake.exists(run_path(other.pipeline, other.run_id, "report"))
            if is_over or workspace.clock() - other.since > _LONGEST:
                workspace.lake.remove(path)
            else:
                yield other


def _used(other: Held, workspace: Workspace, sheet: PriceSheet) -> Decimal:
    first, last = (moment.astimezone(UTC).date() for moment in (other.since, workspace.clock()))
    jobs = usage_of_run(first, last, other.pipeline, other.run_id, workspace.lake)
    return price_jobs(jobs, sheet, workspace)[0]


def _path(pipeline: str, run_id: str) -> str:
    return f"{_FOLDER}/{pipeline}/{run_id}.json"
