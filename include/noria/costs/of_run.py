"""What one run has used and cost so far, at once: its page and the terminal tell it, hours before any table does."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal

from noria.costs.metering import price_jobs
from noria.costs.money import money
from noria.costs.sheet import load_sheet
from noria.costs.usage import usage_of_run
from noria.errors import NoriaError
from noria.records import Run
from noria.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunUse:
    """What a run has used, failed attempts included.

    Attributes:
        jobs: How many jobs it had.
        vcpu_seconds: What they held.
        cpu_seconds: What they used of it.
        cost: By the price sheet, in `currency`; none where nothing that it used has a price.
        currency: Of the price sheet.
        unpriced: What it used that has no price.
    """

    jobs: int
    vcpu_seconds: float
    cpu_seconds: float
    cost: Decimal | None
    currency: str
    unpriced: tuple[str, ...]

    @property
    def price(self) -> str | None:
        """The cost with its currency; none where it has none."""
        return None if self.cost is None else money(self.cost, self.currency)

    @property
    def words(self) -> str:
        """Cost and use in one line."""
        used = f"{self.vcpu_seconds:.0f} vCPU-seconds held, {self.cpu_seconds:.0f} of them used"
        lacking = (f"no price for {', '.join(self.unpriced)} in the price sheet",) if self.unpriced else ()
        cost = (f"about {self.price} by the price sheet",) if self.price else ()
        return "; ".join((*cost, *lacking, used))


def run_use(run: Run, workspace: Workspace) -> RunUse | None:
    """What a run has used and cost so far; none where nothing was metered, or no price sheet can be read."""
    first, last = (moment.astimezone(UTC).date() for moment in (run.created_at, workspace.clock()))
    jobs = list(usage_of_run(first, last, run.pipeline.name, run.run_id, workspace.lake))
    if not jobs:
        return None
    try:
        sheet = load_sheet(workspace.settings.costs_file)
    except NoriaError as error:  # a price must not hide what the run did
        log.warning("%s", error)
        return None
    cost, unpriced = price_jobs(jobs, sheet, workspace)
    return RunUse(
        jobs=len(jobs),
        vcpu_seconds=sum(job.usage.vcpu_seconds for job in jobs),
        cpu_seconds=sum(job.usage.cpu_seconds for job in jobs),
        cost=cost if cost or not unpriced else None,
        currency=sheet.currency,
        unpriced=unpriced,
    )
